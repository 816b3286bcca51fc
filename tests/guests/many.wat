;; Answers with as many outputs as the message says, each with the payload of the message.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32)
      (local $count i32) (local $at i32) (local $i i32)
      (local.set $count (call $number))
      (local.set $at (call $allocate (i32.mul (local.get $count) (i32.const 56))))
      (block $end (loop $next
        (br_if $end (i32.ge_u (local.get $i) (local.get $count)))
        (call $output (i32.add (local.get $at) (i32.mul (local.get $i) (i32.const 56)))
          (global.get $form) (global.get $body) (global.get $body-len))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
      (call $ok (local.get $at) (local.get $count))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
