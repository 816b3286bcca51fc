from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.errors import FarmError, ManifestError, NotPermitted, SourceMissing
from farm.manifest.files import Lack, look, names_files, refuse
from farm.manifest.read import read
from tests.brokers.nats_keys import Certificates, certificates

HEAD = '[app]\nname = "x"\n[brokers.b]\ntype = "redis"\nurl = "rediss://h"\n'


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("other"))


def lacks(folder: Path, keys: str, environ: dict[str, str] | None = None) -> list[Lack]:
    (folder / "farm.toml").write_text(HEAD + keys)
    return look(read(folder / "farm.toml", {}), environ or {})


def said(found: list[Lack], folder: Path) -> list[str]:
    return [str(each.problem).replace(f"{folder}/", "") for each in found]


def error_of(found: list[Lack]) -> type[FarmError]:
    with pytest.raises(FarmError) as caught:
        refuse(found)
    assert len(caught.value.problems) == len(found)
    return type(caught.value)


def secret(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "pw"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_manifest_whose_files_are_as_they_should_be_lacks_nothing(tmp_path: Path, pki: Certificates) -> None:
    secret(tmp_path, b"pw\n")
    pki.server_key.chmod(0o600)
    tls = f'ca = "{pki.ca}", certificate = "{pki.server}", key = "{pki.server_key}"'
    assert lacks(tmp_path, f'password = {{ file = "pw" }}\ntls = {{ {tls} }}\n') == []


def test_a_secret_that_is_not_here_may_be_elsewhere(tmp_path: Path) -> None:
    found = lacks(tmp_path, 'password = { file = "pw" }\n')
    assert said(found, tmp_path) == [
        "cannot use brokers.b.password.file (farm.toml:6): pw: no such file. Create it, or correct the name"
    ]
    assert [each.elsewhere for each in found] == [True]
    assert str(found[0].warning).endswith("pw: no such file. `farm up` needs it, where it runs")
    assert error_of(found) is SourceMissing


def test_a_variable_that_is_not_set_or_empty_is_lacking(tmp_path: Path) -> None:
    keys = 'password = { env = "SHOP" }\n'
    assert lacks(tmp_path, keys, {"SHOP": "pw"}) == []
    for environ in ({}, {"SHOP": ""}):
        found = lacks(tmp_path, keys, environ)
        assert said(found, tmp_path) == [
            "cannot use brokers.b.password.env (farm.toml:6): the variable SHOP is not set. Set it for `farm up`"
        ]
        assert error_of(found) is ManifestError
        assert found[0].elsewhere


def test_a_secret_that_others_may_read_is_not_permitted(tmp_path: Path) -> None:
    path = secret(tmp_path, b"pw", 0o644)
    found = lacks(tmp_path, 'password = { file = "pw" }\n')
    assert [each.why for each in found] == [f"{path}: others may read it"]
    assert found[0].elsewhere, "a checkout keeps no modes"
    assert str(found[0].warning).endswith(f"Say `chmod o-rwx {path}`, where `farm up` runs")
    assert error_of(found) is NotPermitted


@pytest.mark.parametrize(("content", "why"), [(b"\n", "it is empty"), (b"\xff", "it is not UTF-8")])
def test_what_is_in_a_file_is_wrong_everywhere(tmp_path: Path, content: bytes, why: str) -> None:
    path = secret(tmp_path, content)
    found = lacks(tmp_path, 'password = { file = "pw" }\n')
    assert [each.why for each in found] == [f"{path}: {why}"]
    assert not found[0].elsewhere
    assert error_of(found) is ManifestError


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pw", 0o600)
    os.mkfifo(tmp_path / "ca.pem", 0o600)
    found = lacks(tmp_path, 'password = { file = "pw" }\ntls = { ca = "ca.pem" }\n')
    assert [each.why for each in found] == [f"{tmp_path / name}: it is no file" for name in ("pw", "ca.pem")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_not_permitted(tmp_path: Path) -> None:
    secret(tmp_path, b"pw", 0)
    assert error_of(lacks(tmp_path, 'password = { file = "pw" }\ntls = { ca = "pw" }\n')) is NotPermitted


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    found = lacks(tmp_path, 'password = { file = "x" }\ntls = { ca = "x" }\n')
    assert said(found, tmp_path) == [
        "cannot use brokers.b.password.file (farm.toml:6): x: it is a folder",
        "cannot use brokers.b.tls.ca (farm.toml:7): x: it is a folder",
    ]


def test_every_file_of_tls_is_looked_at(tmp_path: Path) -> None:
    found = lacks(tmp_path, 'tls = { ca = "ca.pem", certificate = "farm.pem", key = "farm.key" }\n')
    assert [(each.key.rpartition(".")[2], each.kind) for each in found] == [
        ("ca", "missing"),
        ("certificate", "missing"),
        ("key", "missing"),
    ]
    assert error_of(found) is SourceMissing


@pytest.mark.parametrize("key", ["ca", "certificate"])
def test_a_file_without_a_certificate_is_wrong_everywhere(tmp_path: Path, key: str) -> None:
    (tmp_path / "x.pem").write_text("no PEM\n")
    found = lacks(tmp_path, f'tls = {{ {key} = "x.pem" }}\n')
    assert said(found, tmp_path) == [
        f"cannot use brokers.b.tls.{key} (farm.toml:6): x.pem: there is no certificate in it. "
        "It is to be PEM, with BEGIN and END"
    ]
    assert not found[0].elsewhere
    assert error_of(found) is ManifestError


@pytest.mark.parametrize("key", ["ca", "certificate"])
def test_a_certificate_that_is_damaged_is_wrong_everywhere(tmp_path: Path, pki: Certificates, key: str) -> None:
    damaged = pki.ca.read_text().replace("MII", "Mii", 1)
    (tmp_path / "x.pem").write_text(damaged + pki.server_key.read_text())
    (found,) = lacks(tmp_path, f'tls = {{ {key} = "x.pem" }}\n')
    assert "TLS cannot use it: " in found.why
    assert "_ssl.c" not in found.why
    assert (found.key, found.kind, found.elsewhere) == (f"brokers.b.tls.{key}", "bad", False)


def test_a_certificate_without_a_key_beside_it_needs_one_in_it(tmp_path: Path, pki: Certificates) -> None:
    (found,) = lacks(tmp_path, f'tls = {{ certificate = "{pki.server}" }}\n')
    assert found.why == f"{pki.server}: there is no private key in it"


def test_a_key_that_is_not_the_certificates_is_named(tmp_path: Path, pki: Certificates, other: Certificates) -> None:
    found = lacks(tmp_path, f'tls = {{ certificate = "{pki.server}", key = "{other.server_key}" }}\n')
    assert [(each.key, each.why) for each in found] == [
        ("brokers.b.tls.key", f"{other.server_key}: it is not the key of {pki.server}")
    ]
    assert error_of(found) is ManifestError


def test_a_key_that_others_may_read_is_a_warning_and_no_more(tmp_path: Path, pki: Certificates) -> None:
    key = tmp_path / "farm.key"
    key.write_bytes(pki.server_key.read_bytes())
    key.chmod(0o644)
    found = lacks(tmp_path, f'tls = {{ certificate = "{pki.server}", key = "farm.key" }}\n')
    assert [str(each.warning).replace(f"{tmp_path}/", "") for each in found] == [
        "brokers.b.tls.key is no secret (farm.toml:6): others may read farm.key. Say `chmod o-rwx farm.key`"
    ]
    refuse(found)


def test_of_several_kinds_it_is_the_manifest_that_is_wrong(tmp_path: Path) -> None:
    secret(tmp_path, b"")
    assert error_of(lacks(tmp_path, 'password = { file = "pw" }\ntls = { ca = "ca.pem" }\n')) is ManifestError


def test_whether_there_are_files_at_all_is_known_without_a_look(tmp_path: Path) -> None:
    def names(keys: str) -> bool:
        (tmp_path / "farm.toml").write_text(HEAD + keys)
        return names_files(read(tmp_path / "farm.toml", {}).spec)

    assert not names('password = { env = "X" }\ntls = {}\n')
    assert names('password = { file = "x" }\n')
    assert names('tls = { ca = "x" }\n')
