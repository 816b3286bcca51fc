"""What `tls = {..}` of a broker says to OpenSSL; the same for every type of broker."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from farm.brokers.faults import words_of
from farm.spec import TlsSpec


def context_of(tls: TlsSpec, fault: Callable[[str], Exception]) -> ssl.SSLContext:
    """What is believed and shown, as its files are now.

    Args:
      fault: makes what is raised, of one line.
    Raises: that: a file is not there, or is none of its kind.
    """
    doing = tls.ca
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            doing = tls.certificate
            # with no password OpenSSL would ask the terminal for that of a key that has one
            context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:
        raise fault(f"cannot use {doing}: {words_of(error)}") from error
    return context
