;; Prints the first 32 bytes of the payload, sleeps for as many milliseconds as they say, then answers with them.
(component
  @messaging-types
  @libc
  @wasi-print
  @wasi-sleep
  (core module $guest-m
    (import "wasi" "get-stdout" (func $get-stdout (result i32)))
    (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
    (import "wasi" "drop-stream" (func $drop-stream (param i32)))
    (import "waits" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "waits" "block" (func $block (param i32)))
    (import "waits" "drop" (func $drop (param i32)))
    @messaging-handle
    (func $handle (result i32)
      (local $size i32) (local $stream i32) (local $pollable i32)
      (local.set $size (select (i32.const 32) (global.get $body-len) (i32.gt_u (global.get $body-len) (i32.const 32))))
      (local.set $stream (call $get-stdout))
      (call $write (local.get $stream) (global.get $body) (local.get $size) (i32.const 512))
      (call $drop-stream (local.get $stream))
      (if (call $number) (then
        (local.set $pollable (call $subscribe (i64.mul (i64.extend_i32_u (call $number)) (i64.const 1000000))))
        (call $block (local.get $pollable))
        (call $drop (local.get $pollable))))
      (call $answer (global.get $form) (global.get $body) (local.get $size))))
  (core instance $guest (instantiate $guest-m
    (with "libc" (instance $libc)) (with "wasi" (instance $wasi)) (with "waits" (instance $waits))))
  @messaging-export)
