;; Answers with the payload it was given, as if it were hexadecimal digits.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32) (call $answer (i32.const 3) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
