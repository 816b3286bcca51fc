;; The reference's interface under the name that tools give it which cannot export a plain one.
(component
  @libc
  @leeorr
  (export "leeorr:spin-message-trigger/guest@0.2.0" (instance $leeorr-guest)))
