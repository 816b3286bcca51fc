;; Fails as its payload says: "error" a fault of its own (ValueError), "retry" after 2 s, "reject", else it answers with it.
(component
  @messaging-types
  (core module $guest-m
    @allocator
    (data (i32.const 1024) "ValueErrorbad totalhello.py:28Traceback: hello.py:28\nlater, please\1b[2Jnever again")
    @messaging-handle
    (func $error (result i32)
      (i32.store8 (i32.const 0) (i32.const 1)) (i32.store8 (i32.const 4) (i32.const 0))
      (i32.store (i32.const 8) (i32.const 1024)) (i32.store (i32.const 12) (i32.const 10))
      (i32.store (i32.const 16) (i32.const 1034)) (i32.store (i32.const 20) (i32.const 9))
      (i32.store8 (i32.const 24) (i32.const 1)) (i32.store (i32.const 28) (i32.const 1043)) (i32.store (i32.const 32) (i32.const 11))
      (i32.store (i32.const 36) (i32.const 1054)) (i32.store (i32.const 40) (i32.const 23))
      (i32.const 0))
    (func $retry (result i32)
      (i32.store8 (i32.const 0) (i32.const 1)) (i32.store8 (i32.const 4) (i32.const 1))
      (i32.store (i32.const 8) (i32.const 1077)) (i32.store (i32.const 12) (i32.const 17))
      (i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 2000))
      (i32.const 0))
    (func $handle (result i32)
      (local $third i32)
      (local.set $third (i32.load8_u offset=2 (global.get $body)))
      (if (i32.eq (local.get $third) (i32.const 114)) (then (return (call $error)))) ;; er[r]or
      (if (i32.eq (local.get $third) (i32.const 116)) (then (return (call $retry)))) ;; re[t]ry
      (if (i32.eq (local.get $third) (i32.const 106)) (then (return (call $reject (i32.const 1094) (i32.const 11))))) ;; re[j]ect
      (call $answer (global.get $form) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m))
  @messaging-export)
