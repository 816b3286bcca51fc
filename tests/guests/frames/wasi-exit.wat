  (import "wasi:cli/exit@0.2.0" (instance $exit-i (export "exit" (func (param "status" (result))))))
  (core func $exit (canon lower (func $exit-i "exit")))
  (core instance $wasi (export "exit" (func $exit)))
