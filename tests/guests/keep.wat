;; Takes as many MiB of memory at each message as the payload says, keeps them, and answers like count.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (global $calls (mut i32) (i32.const 0))
    (func $handle (result i32)
      (drop (memory.grow (i32.shl (call $number) (i32.const 4))))
      (global.set $calls (i32.rem_u (i32.add (global.get $calls) (i32.const 1)) (i32.const 10)))
      (i32.store8 (i32.const 1024) (i32.add (global.get $calls) (i32.const 48)))
      (call $answer (i32.const 0) (i32.const 1024) (i32.const 1))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
