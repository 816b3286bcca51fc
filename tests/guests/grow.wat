;; Takes memory, 1 MiB at a time and without touching it, until it gets no more, and breaks off.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32)
      (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
      (unreachable)))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
