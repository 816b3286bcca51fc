;; Calls itself for ever.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $deeper (param i32) (result i32) (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
    (func $handle (result i32) (call $deeper (i32.const 0))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
