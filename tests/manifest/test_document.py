from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import ManifestError, NotPermitted, SourceMissing
from farm.manifest.read import read
from tests.manifest.example import said, write


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[app\n", "bad TOML (farm.toml:1:5): "),
        (
            "[app]\nname = example\n",
            'bad TOML (farm.toml:2:8): invalid value. Strings stand in quotes: name = "example"',
        ),
        ("[app]\n[app]\n", "bad TOML (farm.toml:2:5): cannot declare app twice. Each table is written once"),
        ("[app]\nname = '1'\nname = '2'", "bad TOML (farm.toml:3): cannot overwrite a value. Each key is "),
        ("\n\nx = [", "bad TOML (farm.toml:3"),
        ("\ufeff[app]", "bad TOML (farm.toml:1:1): invalid statement. Save it without a byte order mark"),
        ("x = " + "[" * 100_000, "bad TOML (farm.toml): arrays or tables are nested too deep"),
        (f"x = {'1' * 5000}", "bad TOML (farm.toml)"),
        (f"x = '{'1' * 2_000_000}'", "manifest too large (farm.toml): it is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_toml_is_told_in_the_same_format(tmp_path: Path, text: str, problem: str) -> None:
    (line,) = said(tmp_path, text)
    assert line.startswith(problem)


def test_what_is_no_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"[app]\nname = '\xff'\n")
    with pytest.raises(ManifestError, match=r"farm.toml:2\): it is not UTF-8. Save it as UTF-8"):
        read(path, {})


def test_a_missing_manifest_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no such file\. Make one, or name the app's folder with --app") as caught:
        read(tmp_path / "farm.toml", {})
    assert caught.value.exit_code == 66


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted, match="Is a directory"):
        read(tmp_path, {})
