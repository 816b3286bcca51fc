"""Why a server's certificate is not trusted, in words for one line; the same for every type of broker."""

from __future__ import annotations

import ssl
from typing import Final

# Source: OpenSSL, X509_verify_cert_error_string(3): signed by itself, by somebody unknown, or by nobody that was shown.
_NOBODY_KNOWN: Final = (18, 19, 20, 21)


def distrust(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with it, and what to write where its authority is unknown."""
    text = f"its certificate is not trusted: {error.verify_message}"
    return f'{text}. Name its authority: tls = {{ ca = ".." }}' if error.verify_code in _NOBODY_KNOWN else text
