;; Imports farm:messaging/requester, which is not offered.
(component
  @messaging-types
  @libc
  (alias export $types "message" (type $message-t))
  (import "farm:messaging/requester@0.1.0" (instance $requester
    (alias outer 1 $outgoing (type $o)) (export "outgoing" (type $outgoing (eq $o)))
    (alias outer 1 $message-t (type $m)) (export "message" (type $message (eq $m)))
    (export "request" (func (param "message" $outgoing) (param "timeout-ms" u32) (result (result $message (error string)))))))
  (core module $guest-m
    @messaging-handle
    (func $handle (result i32)
      (call $output (i32.const 64) (global.get $form) (global.get $body) (global.get $body-len))
      (i32.store (i32.const 100) (global.get $headers)) (i32.store (i32.const 104) (global.get $headers-len))
      (call $ok (i32.const 64) (i32.const 1))))
  (core instance $guest (instantiate $guest-m (with "libc" (instance $libc))))
  @messaging-export)
