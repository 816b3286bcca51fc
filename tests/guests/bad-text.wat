;; Answers with text that is not UTF-8.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (data (i32.const 1024) "\ff\fe\c0")
    (func $handle (result i32) (call $answer (i32.const 0) (i32.const 1024) (i32.const 3))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
