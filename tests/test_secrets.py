from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm import secrets
from farm.brokers.options.nats import NatsSpec
from farm.brokers.options.redis import RedisSpec
from farm.errors import BadValue, ManifestError, NotPermitted, SourceMissing
from farm.secrets import FD_VARIABLE, Secrets, seal, secrets_of, take_descriptor, variables_of
from farm.spec import AppSpec, FarmSpec, Secret

REDIS = RedisSpec(name="r", type="redis", url="redis://h", password=Secret(env="REDIS_PASSWORD"))
NATS = NatsSpec(name="n", type="nats", servers=("h",), token=Secret(env="NATS_TOKEN"), nkey=Secret(Path("/x")))
SPEC = FarmSpec(Path("/farm.toml"), AppSpec("x"), {"r": REDIS, "n": NATS}, {})


def file_of(folder: Path, content: bytes, mode: int = 0o600) -> Secret:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return Secret(file=path)


def test_a_secret_is_in_one_place() -> None:
    with pytest.raises(BadValue):
        Secret()
    with pytest.raises(BadValue):
        Secret(Path("/x"), "X")


def test_every_secret_of_a_manifest_is_found_with_its_key() -> None:
    assert [key for key, _ in secrets_of(SPEC)] == ["brokers.r.password", "brokers.n.token", "brokers.n.nkey"]


def test_variables_that_are_there_are_taken() -> None:
    assert variables_of(SPEC, {"NATS_TOKEN": "t", "HOME": "/"}) == {"NATS_TOKEN": "t"}


def test_what_is_sealed_is_read_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    fd = seal({"REDIS_PASSWORD": "gehèim"})
    monkeypatch.setenv(FD_VARIABLE, str(fd))
    assert take_descriptor() == fd
    assert FD_VARIABLE not in os.environ
    assert not os.get_inheritable(fd)
    assert Secrets(fd).read(Secret(env="REDIS_PASSWORD")) == "gehèim"
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    os.close(fd)


@pytest.mark.parametrize("text", ["", "x", "77777", "0", "-1"])
def test_a_number_that_is_no_sealed_memory_file_is_left_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(FD_VARIABLE, text)
    assert take_descriptor() is None


@pytest.mark.parametrize(
    ("content", "text"), [(b"pw", "pw"), (b"pw\n", "pw"), (b"p w \r\n", "p w "), (b"a\nb\n", "a\nb")]
)
def test_a_file_is_read_without_the_end_of_its_line(tmp_path: Path, content: bytes, text: str) -> None:
    assert Secrets(None).read(file_of(tmp_path, content)) == text


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    reader, secret = Secrets(None), file_of(tmp_path, b"old")
    assert reader.read(secret) == "old"
    file_of(tmp_path, b"new")
    assert reader.read(secret) == "new"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(NotPermitted, match="others may read"):
        Secrets(None).read(file_of(tmp_path, b"pw", mode))


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff", "UTF-8"), (b"x" * (secrets.LIMIT_BYTES + 1), "larger")],
)
def test_a_file_without_a_usable_secret_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(ManifestError, match=why) as caught:
        Secrets(None).read(file_of(tmp_path, content))
    assert "xxx" not in str(caught.value)


def test_a_file_or_a_variable_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="nowhere"):
        Secrets(None).read(Secret(file=tmp_path / "nowhere"))
    with pytest.raises(SourceMissing, match="NOWHERE"):
        Secrets(None).read(Secret(env="NOWHERE"))
    with pytest.raises(ManifestError, match="folder"):
        Secrets(None).read(Secret(file=tmp_path))
