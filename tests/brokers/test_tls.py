"""What `tls = {..}` of a broker becomes, and what is said of files that will not do."""

from __future__ import annotations

import contextlib
import os
import pty
import ssl
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from farm.brokers.tls import context_of
from farm.spec import TlsSpec
from tests.brokers.nats_keys import certificates

ASKING = """
import sys
from pathlib import Path
from farm.brokers.tls import context_of
from farm.spec import TlsSpec
context_of(TlsSpec(None, *map(Path, sys.argv[1:])), ValueError)
"""


class Fault(Exception):
    pass


def fault_of(tls: TlsSpec) -> str:
    with pytest.raises(Fault) as found:
        context_of(tls, Fault)
    return str(found.value)


def test_files_that_will_do_are_used(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    context = context_of(TlsSpec(files.ca, files.client, files.client_key), Fault)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1


def test_the_file_that_will_not_do_is_named(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    none = tmp_path / "none.pem"
    assert fault_of(TlsSpec(none)) == f"cannot use {none}: no such file or directory"
    assert fault_of(TlsSpec(files.ca, none)) == f"cannot use {none}: no such file or directory"
    assert fault_of(TlsSpec(files.ca, files.server_key)).startswith(f"cannot use {files.server_key}: TLS: ")


def test_a_key_with_a_password_is_an_error_and_no_question(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    key = serialization.load_pem_private_key(files.client_key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    form, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(form, kind, serialization.BestAvailableEncryption(b"word")))
    child, terminal = pty.fork()  # a terminal of its own, for OpenSSL asks that of the process
    if not child:
        words = (ASKING, str(files.client), str(locked))
        os.execv(sys.executable, [sys.executable, "-c", *words])
    os.write(terminal, b"\n")
    said = b""
    with contextlib.suppress(OSError):  # it has ended
        while part := os.read(terminal, 1 << 12):
            said += part
    os.waitpid(child, 0)
    os.close(terminal)
    assert b"cannot use" in said
    assert b"pass phrase" not in said
