;; Answers on the subject that the payload is, to a broker and a reply subject of that name, with itself as a header.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (data (i32.const 1024) "x-own")
    (func $handle (result i32)
      (call $output (i32.const 64) (global.get $form) (global.get $body) (global.get $body-len))
      (i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (global.get $body)) (i32.store (i32.const 72) (global.get $body-len))
      (i32.store8 (i32.const 76) (i32.const 1)) (i32.store (i32.const 80) (global.get $body)) (i32.store (i32.const 84) (global.get $body-len))
      (i32.store (i32.const 1040) (i32.const 1024)) (i32.store (i32.const 1044) (i32.const 5))
      (i32.store (i32.const 1048) (global.get $body)) (i32.store (i32.const 1052) (global.get $body-len))
      (i32.store (i32.const 100) (i32.const 1040)) (i32.store (i32.const 104) (i32.const 1))
      (i32.store8 (i32.const 108) (i32.const 1)) (i32.store (i32.const 112) (global.get $body)) (i32.store (i32.const 116) (global.get $body-len))
      (call $ok (i32.const 64) (i32.const 1))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
