"""Keys, JWTs and credentials as `nsc` makes them, and certificates, for servers in tests."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
SEED = 18 << 3


def text(*parts: bytes) -> str:
    body = b"".join(parts)
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")


@dataclass(frozen=True)
class Key:
    """A key pair of one kind."""

    kind: int
    private: Ed25519PrivateKey

    @property
    def public(self) -> str:
        return text(bytes([self.kind]), self.private.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        head = bytes([SEED | self.kind >> 5, (self.kind & 0x1F) << 3])
        return text(head, self.private.private_bytes_raw())

    def jwt(self, subject: Key, name: str, claims: dict[str, Any]) -> str:
        """What this key says of another."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": name, "iat": 1_700_000_000, "iss": self.public, "name": name, "sub": subject.public}
        signed = f"{_part(head)}.{_part({**body, 'nats': {'version': 2, **claims}})}"
        return f"{signed}.{_base64(self.private.sign(signed.encode()))}"


def key(kind: int) -> Key:
    return Key(kind, Ed25519PrivateKey.generate())


@dataclass(frozen=True)
class Realm:
    """An operator, an account and a user of it. config: of a server that believes them."""

    user: Key
    jwt: str
    config: str

    @property
    def credentials(self) -> str:
        return (
            f"-----BEGIN NATS USER JWT-----\n{self.jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.user.seed}\n------END USER NKEY SEED------\n"
        )


def realm() -> Realm:
    operator, account, user = key(OPERATOR), key(ACCOUNT), key(USER)
    anything = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1}
    of_account = operator.jwt(account, "account", {"type": "account", "limits": {**anything, "wildcards": True}})
    lines = [
        f"operator: {operator.jwt(operator, 'operator', {'type': 'operator'})}",
        "resolver: MEMORY",
        f"resolver_preload: {{ {account.public}: {of_account} }}",
    ]
    of_user = account.jwt(user, "user", {"type": "user", "subs": -1, "data": -1, "payload": -1})
    return Realm(user, of_user, "\n".join(lines))


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and the certificate and key of a server and of a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def certificates(folder: Path) -> Certificates:
    """Of an authority of their own, the server's for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate("authority", authority, "authority", authority)
    (folder / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    for name in ("server", "client"):
        own = ec.generate_private_key(ec.SECP256R1())
        found = _certificate(name, own, "authority", authority)
        (folder / f"{name}.pem").write_bytes(found.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{name}.key").write_bytes(own.private_bytes(serialization.Encoding.PEM, *form))
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(folder / name for name in names))


def _certificate(
    name: str, own: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=own is signer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if own is not signer:
        local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(local, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _part(fields: dict[str, Any]) -> str:
    return _base64(json.dumps(fields).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
