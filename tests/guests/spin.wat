;; Never answers.
(component
  @messaging-types
  (core module $guest-m
    @allocator
    @messaging-handle
    (func $handle (result i32) (loop $for-ever (br $for-ever)) (unreachable)))
  (core instance $guest (instantiate $guest-m))
  @messaging-export)
