;; Answers with the payload it was given, in the same form, with its headers and on no subject of its own.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32)
      (call $output (i32.const 64) (global.get $form) (global.get $body) (global.get $body-len))
      (i32.store (i32.const 100) (global.get $headers)) (i32.store (i32.const 104) (global.get $headers-len))
      (call $ok (i32.const 64) (i32.const 1))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
