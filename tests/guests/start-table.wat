;; Wants a table of a million elements from the start.
(component
  @messaging-types
  @libc
  (core module $large-m (table 1000000 funcref))
  (core instance (instantiate $large-m))
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32)
      (call $output (i32.const 64) (global.get $form) (global.get $body) (global.get $body-len))
      (i32.store (i32.const 100) (global.get $headers)) (i32.store (i32.const 104) (global.get $headers-len))
      (call $ok (i32.const 64) (i32.const 1))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
