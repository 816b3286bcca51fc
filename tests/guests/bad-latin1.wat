;; Answers with a latin1 payload that holds U+20AC, which is no byte.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (data (i32.const 1024) "\e2\82\ac")
    (func $handle (result i32) (call $answer (i32.const 1) (i32.const 1024) (i32.const 3))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
