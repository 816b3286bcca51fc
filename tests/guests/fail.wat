;; Fails as its payload says: "error" a fault of its own (ValueError), "retry" after 2 s, "reject", "memory" a MemoryError;
;; anything else it answers with.
(component
  @messaging-types
  @libc
  (core module $guest-m
    @messaging-handle
    (data (i32.const 1024) "ValueErrorbad totalhello.py:28Traceback: hello.py:28\nlater, please\1b[2Jnever againMemoryError")
    (func $error (param $kind i32) (param $kind-len i32) (result i32)
      (i32.store8 (i32.const 0) (i32.const 1)) (i32.store8 (i32.const 4) (i32.const 0))
      (i32.store (i32.const 8) (local.get $kind)) (i32.store (i32.const 12) (local.get $kind-len))
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
      (if (i32.ge_u (global.get $body-len) (i32.const 3))
        (then (local.set $third (i32.load8_u offset=2 (global.get $body)))))
      (if (i32.eq (local.get $third) (i32.const 114)) ;; er[r]or
        (then (return (call $error (i32.const 1024) (i32.const 10)))))
      (if (i32.eq (local.get $third) (i32.const 109)) ;; me[m]ory
        (then (return (call $error (i32.const 1105) (i32.const 11)))))
      (if (i32.eq (local.get $third) (i32.const 116)) ;; re[t]ry
        (then (return (call $retry))))
      (if (i32.eq (local.get $third) (i32.const 106)) ;; re[j]ect
        (then (return (call $reject (i32.const 1094) (i32.const 11)))))
      (call $answer (global.get $form) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
