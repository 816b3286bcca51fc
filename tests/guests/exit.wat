;; Calls exit(1).
(component
  @messaging-types
  @libc
  @wasi-exit
  (core module $guest-m
    (import "wasi" "exit" (func $exit (param i32)))
    @messaging-handle
    (func $handle (result i32) (call $exit (i32.const 1)) (unreachable)))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc)) (with "wasi" (instance $wasi))))
  @messaging-export)
