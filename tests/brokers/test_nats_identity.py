from __future__ import annotations

import base64
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from farm.brokers.nats_identity import parse_credentials, sign
from farm.brokers.options.nats import NatsSpec
from farm.errors import BadValue, FarmError
from tests.brokers.nats_keys import ACCOUNT, USER, key, realm


def test_a_nonce_is_signed_with_the_seed() -> None:
    user = key(USER)
    public, signature = sign(user.seed, "a nonce")
    assert public == user.public
    assert public.startswith("U")
    raw = base64.b32decode(public + "=" * (-len(public) % 8))[1:-2]
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.urlsafe_b64decode(signature + "=="), b"a nonce")


def corrupted(seed: str) -> str:
    return seed[:20] + ("B" if seed[20] == "A" else "A") + seed[21:]


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        ("", "checksum"),
        ("not a seed", "base 32"),
        ("SUAA", "checksum"),
        (key(USER).seed[:-1] + "9", "base 32"),
        (corrupted(key(USER).seed), "checksum"),
        (key(ACCOUNT).seed, "begin with SU"),
    ],
)
def test_what_is_no_seed_of_a_user_is_told_without_it(seed: str, why: str) -> None:
    with pytest.raises(BadValue, match=why) as caught:
        sign(seed, "nonce")
    assert not seed or seed not in str(caught.value)


def test_a_package_that_is_missing_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(FarmError, match=r'pip install "cryptography>=45"'):
        sign(key(USER).seed, "nonce")


def test_credentials_hold_a_jwt_and_a_seed() -> None:
    found = realm()
    assert parse_credentials(found.credentials) == (found.jwt, found.user.seed)


@pytest.mark.parametrize("missing", ["JWT", "seed"])
def test_credentials_without_one_of_them_are_told_without_the_other(missing: str) -> None:
    found = realm()
    text = found.credentials.replace(found.jwt if missing == "JWT" else found.user.seed, "")
    with pytest.raises(BadValue, match=f"no {missing}") as caught:
        parse_credentials(text)
    assert found.user.seed not in str(caught.value)


@pytest.mark.parametrize("prefix", ["_INBOX", "_INBOX.farm1", "answers"])
def test_what_answers_are_heard_on_may_be_any_subject(prefix: str) -> None:
    assert not list(NatsSpec(name="x", type="nats", servers=("a",), inbox_prefix=prefix).faults())


@pytest.mark.parametrize("prefix", ["", "a b", "a.>", "*", "a.", "a..b"])
def test_what_answers_are_heard_on_is_no_pattern(prefix: str) -> None:
    [fault] = NatsSpec(name="x", type="nats", servers=("a",), inbox_prefix=prefix).faults()
    assert fault.key == "inbox_prefix"
