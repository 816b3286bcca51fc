;; Never gets as far as a message: its start loops for ever.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $never (loop $for-ever (br $for-ever)))
    (start $never)
    (func $handle (result i32) (unreachable)))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
