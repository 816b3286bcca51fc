;; Answers with an output for each variable of its environment: its value, on the subject that is its name.
(component
  @messaging-types
  @libc
  @wasi-environment
  (core module $guest-m
    (import "wasi" "get-environment" (func $get-environment (param i32)))
    @messaging-handle
    (func $handle (result i32)
      (local $list i32) (local $count i32) (local $at i32) (local $i i32) (local $pair i32) (local $one i32)
      (call $get-environment (i32.const 512))
      (local.set $list (i32.load (i32.const 512)))
      (local.set $count (i32.load (i32.const 516)))
      (local.set $at (call $allocate (i32.mul (local.get $count) (i32.const 56))))
      (block $end (loop $next
        (br_if $end (i32.ge_u (local.get $i) (local.get $count)))
        (local.set $pair (i32.add (local.get $list) (i32.shl (local.get $i) (i32.const 4))))
        (local.set $one (i32.add (local.get $at) (i32.mul (local.get $i) (i32.const 56))))
        (call $output (local.get $one) (i32.const 0) (i32.load offset=8 (local.get $pair)) (i32.load offset=12 (local.get $pair)))
        (i32.store8 (local.get $one) (i32.const 1))
        (i32.store offset=4 (local.get $one) (i32.load (local.get $pair)))
        (i32.store offset=8 (local.get $one) (i32.load offset=4 (local.get $pair)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
      (call $ok (local.get $at) (local.get $count))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc)) (with "wasi" (instance $wasi))))
  @messaging-export)
