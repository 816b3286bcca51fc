;; Never answers.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32) (loop $for-ever (br $for-ever)) (unreachable)))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
