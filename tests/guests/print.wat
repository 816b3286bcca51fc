;; Prints the payload on stdout and stderr, 4096 bytes at a time, then answers; at a payload that begins with a number
;; it prints it that often. A payload that ends in ! makes it break off after printing.
(component
  @messaging-types
  @libc
  @wasi-print
  (core module $guest-m
    (import "wasi" "get-stdout" (func $get-stdout (result i32)))
    (import "wasi" "get-stderr" (func $get-stderr (result i32)))
    (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
    (import "wasi" "drop-stream" (func $drop-stream (param i32)))
    @messaging-handle
    (func $print (param $stream i32) (param $at i32) (param $size i32)
      (local $part i32)
      (block $end (loop $next
        (br_if $end (i32.eqz (local.get $size)))
        (local.set $part (select (i32.const 4096) (local.get $size) (i32.gt_u (local.get $size) (i32.const 4096))))
        (call $write (local.get $stream) (local.get $at) (local.get $part) (i32.const 512))
        (local.set $at (i32.add (local.get $at) (local.get $part)))
        (local.set $size (i32.sub (local.get $size) (local.get $part)))
        (br $next)))
      (call $drop-stream (local.get $stream)))
    (func $handle (result i32)
      (local $times i32)
      (local.set $times (call $number))
      (loop $again
        (call $print (call $get-stdout) (global.get $body) (global.get $body-len))
        (call $print (call $get-stderr) (global.get $body) (global.get $body-len))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br_if $again (i32.gt_s (local.get $times) (i32.const 0))))
      (if (i32.eq (i32.load8_u (i32.sub (i32.add (global.get $body) (global.get $body-len)) (i32.const 1))) (i32.const 33))
        (then (unreachable)))
      (call $answer (global.get $form) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc)) (with "wasi" (instance $wasi))))
  @messaging-export)
