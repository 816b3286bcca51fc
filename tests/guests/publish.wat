;; Publishes its payload on the subject `held` as often as the number it begins with says (else once), then answers with it.
;; A payload that ends in ! makes it break off after publishing, one that ends in ? makes it reject.
(component
  @messaging-types
  @libc
  @messaging-publisher
  (core module $guest-m
    (import "farm" "publish" (func $publish (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    @messaging-handle
    (data (i32.const 1024) "held")
    (func $last (result i32) (i32.load8_u (i32.sub (i32.add (global.get $body) (global.get $body-len)) (i32.const 1))))
    (func $handle (result i32)
      (local $times i32)
      (local.set $times (call $number))
      (loop $again
        ;; outgoing, flattened: subject, broker, payload, headers, reply-to; then where the result goes
        (call $publish (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0)
          (global.get $form) (global.get $body) (global.get $body-len) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) ;; refused: say why
          (then (return (call $reject (i32.load (i32.const 516)) (i32.load (i32.const 520))))))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br_if $again (i32.gt_s (local.get $times) (i32.const 0))))
      (if (i32.eq (call $last) (i32.const 33)) (then (unreachable)))
      (if (i32.eq (call $last) (i32.const 63)) (then (return (call $reject (global.get $body) (global.get $body-len)))))
      (call $answer (global.get $form) (global.get $body) (global.get $body-len))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc)) (with "farm" (instance $farm))))
  @messaging-export)
