;; Answers with one payload of as many bytes as the message says, in the form it came in.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32)
      (local $size i32) (local $at i32)
      (local.set $size (call $number))
      (local.set $at (call $allocate (local.get $size)))
      (memory.fill (local.get $at) (i32.const 120) (local.get $size))
      (call $answer (global.get $form) (local.get $at) (local.get $size))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
