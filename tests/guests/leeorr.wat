;; The reference's interface under its plain name: answers on the subject and broker of the message.
(component
  @libc
  @leeorr
  (export "guest" (instance $leeorr-guest)))
