"""What a manifest names outside itself: whether it is here, and is what it should be.

    secrets      { file = ".." }: readable by us alone, text, not empty; { env = ".." }: set
    tls          ca, certificate, key: readable PEM; the key is the certificate's
A file that is not here may be where the farm is to run, and what is in one is the same everywhere: so `Lack.elsewhere`
tells whether to doubt it or to refuse it where the manifest is only looked at. `farm up` refuses both.
What is read here may be a secret: whoever forks afterwards looks in a process of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Literal

from farm.errors import InputError, ManifestError, NotPermitted, Problem, SourceMissing
from farm.manifest.read import Manifest
from farm.secrets import Secrets, open_file, secrets_of
from farm.spec import FarmSpec, Secret, TlsSpec

PEM_LIMIT_BYTES: Final = 4 << 20
CERTIFICATE: Final = b"CERTIFICATE-----"
PRIVATE_KEY: Final = b"PRIVATE KEY-----"

Kind = Literal["missing", "forbidden", "bad", "open"]
ERRORS: Final[Sequence[tuple[Kind, type[InputError]]]] = (
    ("missing", SourceMissing),
    ("forbidden", NotPermitted),
    ("bad", ManifestError),
)


@dataclass(frozen=True)
class Lack:
    """One thing that is not as it should be.

    key: dotted; where: it stands. kind: "open" is a key that others may read: the farm runs all the same. elsewhere: it
    may be as it should on another machine.
    """

    key: str
    where: str
    why: str
    todo: str
    kind: Kind
    elsewhere: bool = False

    @property
    def problem(self) -> Problem:
        """As an error."""
        return Problem(f"cannot use {self.key}", self.where, self.why, self.todo)

    @property
    def warning(self) -> Problem:
        """As something that need not be wrong where the farm is to run."""
        if self.kind == "open":
            return Problem(f"{self.key} is no secret", self.where, self.why, self.todo)
        todo = f"{self.todo}, where `farm up` runs" if self.kind == "forbidden" else "`farm up` needs it, where it runs"
        return Problem(f"cannot use {self.key} here", self.where, self.why, todo)


def names_files(spec: FarmSpec) -> bool:
    """Whether there is any file to look at."""
    return any(secret.file is not None for _, secret in secrets_of(spec)) or any(True for _ in _all_tls(spec))


def look(manifest: Manifest, environ: Mapping[str, str]) -> list[Lack]:
    """Everything that is lacking, in the order of the brokers, secrets first."""
    found = [*_secrets(manifest.spec, environ), *(each for tls in _all_tls(manifest.spec) for each in _tls(*tls))]
    return [replace(each, where=manifest.sources[each.key]) for each in found]


def refuse(lacks: Sequence[Lack]) -> None:
    """Raise one error with all of them but open keys, of their kind; of mixed kinds the manifest's.

    Raises: SourceMissing, NotPermitted, ManifestError.
    """
    found = [(each.problem, error) for each in lacks for kind, error in ERRORS if kind == each.kind]
    if found:
        errors = {error for _, error in found}
        raise (errors.pop() if len(errors) == 1 else ManifestError)(*(problem for problem, _ in found))


def _secrets(spec: FarmSpec, environ: Mapping[str, str]) -> Iterator[Lack]:
    for key, secret in secrets_of(spec):
        if secret.file is not None:
            if (lack := _secret_file(f"{key}.file", secret)) is not None:
                yield lack
        elif not environ.get(secret.env or ""):
            why = f"the variable {secret.env} is not set"
            yield Lack(f"{key}.env", "", why, "Set it for `farm up`", "bad", elsewhere=True)


def _secret_file(key: str, secret: Secret) -> Lack | None:
    try:
        Secrets(None).read(secret)
    except InputError as error:
        problem = error.problems[0]
        for kind, each in ERRORS:
            if isinstance(error, each):
                return Lack(key, "", f"{problem.where}: {problem.why}", problem.todo, kind, elsewhere=kind != "bad")
        raise
    return None


def _all_tls(spec: FarmSpec) -> Iterator[tuple[str, TlsSpec]]:
    """Every table of certificates that names a file, with its key."""
    for name, broker in spec.brokers.items():
        for each in fields(broker):
            table: object = getattr(broker, each.name)
            if isinstance(table, TlsSpec) and (table.ca or table.certificate):
                yield f"brokers.{name}.{each.name}", table


def _tls(key: str, tls: TlsSpec) -> Iterator[Lack]:
    if tls.ca is not None:
        yield from _pem(f"{key}.ca", tls.ca, CERTIFICATE) or _authority(f"{key}.ca", tls.ca)
    if tls.certificate is None:
        return
    own_key, own = (f"{key}.certificate", tls.certificate) if tls.key is None else (f"{key}.key", tls.key)
    lacks = _pem(f"{key}.certificate", tls.certificate, CERTIFICATE)
    if not lacks or tls.key is not None:
        lacks += _pem(own_key, own, PRIVATE_KEY)
    yield from lacks or _pair(f"{key}.certificate", tls.certificate, own_key, own)


def _pem(key: str, path: Path, mark: bytes) -> list[Lack]:
    """What is wrong with a file that is to have such a part: one thing, or nothing."""
    try:
        with open_file(path) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return [Lack(key, "", f"{path}: it is no file", "", "bad")]
            text = file.read(PEM_LIMIT_BYTES)
    except IsADirectoryError:
        return [Lack(key, "", f"{path}: it is a folder", "", "bad")]
    except FileNotFoundError:
        return [Lack(key, "", f"{path}: no such file", "Create it, or correct the name", "missing", elsewhere=True)]
    except OSError as error:
        return [Lack(key, "", f"{path}: {error.strerror}", "Let farm's user read it", "forbidden", elsewhere=True)]
    if mark in text:
        return []
    what = "certificate" if mark == CERTIFICATE else "private key"
    return [Lack(key, "", f"{path}: there is no {what} in it", "It is to be PEM, with BEGIN and END", "bad")]


def _authority(key: str, path: Path) -> list[Lack]:
    import ssl  # not for the many manifests without TLS

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        return [Lack(key, "", f"{path}: {_reason(error)}", "", "bad")]
    return []


def _pair(key: str, certificate: Path, own_key: str, own: Path) -> list[Lack]:
    """What is wrong with two files that are there, and are PEM."""
    import ssl

    asked = False

    def no_password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, own, no_password)
    except (ssl.SSLError, ValueError) as error:
        if asked:
            return [Lack(own_key, "", f"{own}: it has a password", "Give farm a key without one", "bad")]
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            why = f"{own}: it is not the key of {certificate}"
            return [Lack(own_key, "", why, "Name two that belong together", "bad")]
        return [Lack(key, "", f"{certificate}: {_reason(error)}", "", "bad")]
    if own.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return [Lack(own_key, "", f"others may read {own}", f"Say `chmod o-rwx {own}`", "open")]
    return []


def _reason(error: Exception) -> str:
    """What OpenSSL says, without where it says so."""
    reason: object = getattr(error, "reason", None)
    return f"TLS cannot use it: {str(reason or error).lower().replace('_', ' ')}"
