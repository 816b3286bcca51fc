;; Keeps the processor busy for as many milliseconds as the payload says, then answers with the payload.
(component
  @messaging-types
  @libc
  @wasi-sleep
  (core module $guest-m
    (import "wasi" "now" (func $now (result i64)))
    @messaging-handle
    (func $handle (result i32)
      (local $end i64)
      (local.set $end (i64.add (call $now) (i64.mul (i64.extend_i32_u (call $number)) (i64.const 1000000))))
      (loop $busy (br_if $busy (i64.lt_u (call $now) (local.get $end))))
      (call $answer (global.get $form) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc)) (with "wasi" (instance $waits))))
  @messaging-export)
