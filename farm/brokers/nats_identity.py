"""Who farm is to a NATS server: the fields of CONNECT that say so, made anew at every connect.

    user, password                   {"user": .., "pass": ..}
    token                            {"auth_token": ..}
    nkey                             {"nkey": public key, "sig": the server's nonce, signed}
    jwt and nkey, credentials        {"jwt": .., "sig": ..}           credentials hold both, in a file or a variable
Source: NATS documentation, "Client Protocol" and "NKeys"; the text of seeds and credentials: nats-io/nkeys and nsc.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from farm.brokers.options.nats import NatsServerSpec
from farm.errors import BadValue, FarmError, Problem
from farm.spec import Secret

Identity = Callable[[str], dict[str, str]]

_SEED: Final = 18 << 3  # the letter S
_USER: Final = 20 << 3  # the letter U
_SEED_BYTES: Final = 32
_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_NKEY: Final = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")


def identity_of(spec: NatsServerSpec, secret: Callable[[Secret], str]) -> Identity:
    """What tells the server who we are, given its nonce. The function reads the secrets, and raises FarmError."""

    def identity(nonce: str) -> dict[str, str]:
        if spec.user is not None and spec.password is not None:
            return {"user": spec.user, "pass": secret(spec.password)}
        if spec.token is not None:
            return {"auth_token": secret(spec.token)}
        if spec.credentials is not None:
            jwt, seed = parse_credentials(secret(spec.credentials))
            return {"jwt": jwt, "sig": sign(seed, nonce)[1]}
        if spec.nkey is not None:
            public, signature = sign(secret(spec.nkey).strip(), nonce)
            who = {"nkey": public} if spec.jwt is None else {"jwt": secret(spec.jwt).strip()}
            return {**who, "sig": signature}
        return {}

    return identity


def parse_credentials(text: str) -> tuple[str, str]:
    """The JWT and the seed in a text of `nsc`.

    Raises: BadValue: they are not in it.
    """
    jwt, seed = _JWT.search(text), _NKEY.search(text)
    if jwt is None or seed is None:
        missing = "no JWT" if jwt is None else "no seed"
        raise BadValue(Problem("no NATS credentials", why=f"there is {missing} in them", todo="Have nsc write them"))
    return jwt[1], seed[1]


def sign(seed: str, nonce: str) -> tuple[str, str]:
    """The public key of a user's seed, and the nonce of a server signed with it.

    Raises:
      BadValue: it is no seed of a user.
      FarmError: the package that signs is not installed.
    """
    raw = _seed_bytes(seed)
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        todo = 'Say `pip install "cryptography>=45"` where farm is'
        raise FarmError(Problem("NKeys, JWTs and credentials need a package", why=str(error), todo=todo)) from error
    key = Ed25519PrivateKey.from_private_bytes(raw)
    public = _text(_USER, key.public_key().public_bytes_raw())
    signature = base64.urlsafe_b64encode(key.sign(nonce.encode())).decode().rstrip("=")
    return public, signature


def _seed_bytes(seed: str) -> bytes:
    """Five bits say that it is a seed, five more whose; then come the key and a checksum."""
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except (binascii.Error, ValueError) as error:
        raise _no_seed("it is no base 32") from error
    body, checksum = raw[:-2], raw[-2:]
    if len(body) != 2 + _SEED_BYTES or binascii.crc_hqx(body, 0).to_bytes(2, "little") != checksum:
        raise _no_seed("its checksum is wrong")
    if body[0] & 0xF8 != _SEED or ((body[0] & 0x07) << 5 | body[1] >> 3) != _USER:
        raise _no_seed("it does not begin with SU")
    return body[2:]


def _no_seed(why: str) -> BadValue:
    return BadValue(Problem("no seed of a NATS user", why=why))


def _text(prefix: int, key: bytes) -> str:
    body = bytes([prefix]) + key
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")
