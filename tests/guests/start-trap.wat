;; Never gets as far as a message: its start breaks off.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $never (unreachable))
    (start $never)
    (func $handle (result i32) (unreachable)))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
