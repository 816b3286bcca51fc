;; Breaks off at a message "trap", by an unreachable instruction; else it answers like count.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (global $calls (mut i32) (i32.const 0))
    (func $handle (result i32)
      (if (i32.eq (i32.load8_u (global.get $body)) (i32.const 116)) (then (unreachable)))
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store8 (i32.const 1024) (i32.add (global.get $calls) (i32.const 48)))
      (call $answer (i32.const 0) (i32.const 1024) (i32.const 1))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
