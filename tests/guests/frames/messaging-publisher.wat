  (import "farm:messaging/publisher@0.1.0" (instance $publisher
    (alias outer 1 $outgoing (type $o)) (export "outgoing" (type $outgoing (eq $o)))
    (export "publish" (func (param "message" $outgoing) (result (result (error string)))))))
  (core func $publish (canon lower (func $publisher "publish")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")) string-encoding=utf8))
  (core instance $farm (export "publish" (func $publish)))
