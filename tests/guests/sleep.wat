;; Sleeps inside WASI for as many milliseconds as the payload says, then answers with it. Epochs do not reach it.
(component
  @messaging-types
  @libc
  @wasi-sleep
  (core module $guest-m
    (import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "wasi" "block" (func $block (param i32)))
    (import "wasi" "drop" (func $drop (param i32)))
    @messaging-handle
    (func $handle (result i32)
      (local $pollable i32)
      (local.set $pollable (call $subscribe (i64.mul (i64.extend_i32_u (call $number)) (i64.const 1000000))))
      (call $block (local.get $pollable))
      (call $drop (local.get $pollable))
      (call $answer (global.get $form) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc)) (with "wasi" (instance $waits))))
  @messaging-export)
