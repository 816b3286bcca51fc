;; Answers with a payload that lies outside its memory.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32) (call $answer (i32.const 0) (i32.const -65536) (i32.const 1000))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
