from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import msgspec
import pytest

from farm.errors import Internal, NoRoom, NotPermitted
from farm.workers import cache as caches
from farm.workers.cache import Cache, Entry, Tampered
from farm.workers.engine import Engine
from tests.workers.farmhand import rundir

DIGEST = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(rundir(tmp_path))


def stored(cache: Cache, digest: str = DIGEST, code: bytes = b"native code") -> Entry:
    entry, warning = cache.store(digest, code)
    assert warning == ""
    return entry


def test_what_was_stored_is_found(cache: Cache) -> None:
    entry = stored(cache)
    assert cache.find(DIGEST) == entry
    assert Path(entry.path).read_bytes() == b"native code"


def test_what_was_not_stored_is_not_found(cache: Cache) -> None:
    stored(cache)
    assert cache.find(OTHER) is None


def test_entries_and_key_are_ours_alone(cache: Cache, tmp_path: Path) -> None:
    entry = stored(cache)
    files = (Path(entry.path), Path(entry.path).with_suffix(".mac"), tmp_path / "state" / "cache.key")
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 3
    assert (tmp_path / "state" / "cache").stat().st_mode & 0o777 == 0o700


def test_another_version_of_wasmtime_or_other_settings_find_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(cache)
    monkeypatch.setattr(caches, "fingerprint", lambda: "wasmtime 50.0.2")
    assert cache.find(DIGEST) is None


class TestTampering:
    def test_a_flipped_bit_is_refused(self, cache: Cache) -> None:
        Path(stored(cache).path).write_bytes(b"native codf")
        with pytest.raises(Tampered):
            cache.find(DIGEST)

    def test_an_entry_under_the_name_of_another_is_refused(self, cache: Cache) -> None:
        one, other = Path(stored(cache).path), Path(stored(cache, OTHER, b"other code").path)
        one.replace(other)
        one.with_suffix(".mac").replace(other.with_suffix(".mac"))
        with pytest.raises(Tampered):
            cache.find(OTHER)

    def test_an_entry_made_with_another_key_is_refused(self, cache: Cache, tmp_path: Path) -> None:
        stored(cache)
        (tmp_path / "state" / "cache.key").write_bytes(bytes(32))
        with pytest.raises(Tampered):
            cache.find(DIGEST)

    @pytest.mark.parametrize("damage", ["cut", "readable"])
    def test_a_key_that_is_damaged_or_was_readable_is_replaced_and_vouches_for_nothing(
        self, damage: str, cache: Cache, tmp_path: Path
    ) -> None:
        stored(cache)
        key = tmp_path / "state" / "cache.key"
        before = key.read_bytes()
        if damage == "cut":
            key.write_bytes(b"")
        else:
            key.chmod(0o644)
        with pytest.raises(Tampered):
            cache.find(DIGEST)
        assert len(key.read_bytes()) == len(before)
        assert key.read_bytes() != before
        assert key.stat().st_mode & 0o777 == 0o600
        stored(cache)
        assert cache.find(DIGEST) is not None

    def test_a_link_is_not_followed(self, cache: Cache) -> None:
        path = Path(stored(cache).path)
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))
        with pytest.raises(Tampered, match="is a link"):
            cache.find(DIGEST)

    def test_a_file_open_to_others_is_refused(self, cache: Cache) -> None:
        Path(stored(cache).path).chmod(0o644)
        with pytest.raises(Tampered, match="is open to others"):
            cache.find(DIGEST)

    def test_a_file_of_another_user_is_refused(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        stored(cache)
        monkeypatch.setattr(os, "getuid", lambda: 4242)
        with pytest.raises(Tampered, match="belongs to uid"):
            cache.find(DIGEST)

    def test_a_folder_open_to_others_is_not_written_to(self, cache: Cache) -> None:
        cache.folder.chmod(0o777)
        with pytest.raises(NotPermitted):
            cache.store(DIGEST, b"native code")

    def test_a_link_in_the_folders_place_is_not_followed(self, cache: Cache, tmp_path: Path) -> None:
        stored(cache)
        cache.folder.rename(tmp_path / "elsewhere")
        cache.folder.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(Tampered, match="no directory that farm may open"):
            cache.find(DIGEST)
        with pytest.raises(NotPermitted, match="no directory that farm may open"):
            cache.store(DIGEST, b"native code")

    def test_a_fifo_is_no_entry(self, cache: Cache) -> None:
        path = Path(stored(cache).path)
        path.unlink()
        os.mkfifo(path, 0o600)
        with pytest.raises(Tampered, match="is no file"):
            cache.find(DIGEST)


class TestMapping:
    def test_a_file_put_in_the_entrys_place_after_the_check_is_not_mapped(self, cache: Cache) -> None:
        entry = stored(cache)
        path = Path(entry.path)
        path.unlink()
        path.write_bytes(b"native code")
        while True:
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
            if path.stat().st_ctime_ns != entry.ctime_ns:  # a kernel's clock for files stands still for milliseconds
                break
        with Engine() as engine, pytest.raises(Internal, match="changed"):
            caches.load(engine, entry)

    def test_a_file_changed_in_its_place_is_not_mapped(self, cache: Cache) -> None:
        entry = stored(cache)
        Path(entry.path).write_bytes(b"native codf")
        with Engine() as engine, pytest.raises(Internal, match="changed"):
            caches.load(engine, entry)

    def test_a_file_that_is_gone_is_told(self, cache: Cache) -> None:
        entry = stored(cache)
        Path(entry.path).unlink()
        with Engine() as engine, pytest.raises(Internal, match="compiled component gone"):
            caches.load(engine, entry)

    def test_an_entry_travels_as_bytes(self, cache: Cache) -> None:
        entry = stored(cache)
        assert caches.decoded(entry.encoded()) == entry

    def test_bytes_that_are_no_entry_are_refused(self) -> None:
        with pytest.raises(Internal):
            caches.decoded(msgspec.msgpack.encode(["x"]))


class Full:
    """os.write as a full disk has it, for files in these folders."""

    def __init__(self, *folders: Path) -> None:
        self.folders, self.write = folders, os.write

    def __call__(self, fd: int, data: memoryview) -> int:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.parent in self.folders and data.nbytes > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.write(fd, data)


class TestAFullDisk:
    def test_the_code_is_kept_elsewhere_with_a_warning(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "write", Full(cache.folder))
        entry, warning = cache.store(DIGEST, b"x" * 1000)
        assert Path(entry.path).parent == cache.spares[0]
        assert "No space left on device" in warning
        assert list(cache.folder.iterdir()) == []

    def test_a_full_runtime_directory_too_leaves_memory(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "write", Full(cache.folder, cache.spares[0]))
        entry, _ = cache.store(DIGEST, b"x" * 1000)
        try:
            assert Path(entry.path).parent == cache.spares[1]
        finally:
            cache.clear_spares()
        assert not cache.spares[1].exists()

    def test_no_room_anywhere_is_told(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "write", Full(cache.folder, *cache.spares))
        with pytest.raises(NoRoom, match=f"{re.escape(str(cache.folder))}.: No space left on device. Free some"):
            cache.store(DIGEST, b"x" * 1000)
        cache.clear_spares()


def test_what_no_component_uses_is_removed_but_for_the_newest(cache: Cache) -> None:
    entries = [stored(cache, f"{i:064x}") for i in range(caches.OLD_ENTRIES_KEPT + 4)]
    for i, entry in enumerate(entries):
        os.utime(entry.path, ns=(i, i))
    cache.prune([entries[0]])
    left = {path.stem for path in cache.folder.iterdir()}
    kept = [entries[0], *entries[-caches.OLD_ENTRIES_KEPT :]]
    assert left == {Path(entry.path).stem for entry in kept}
    assert cache.find(f"{1:064x}") is None


def test_what_a_compiler_that_died_left_half_written_is_removed(cache: Cache) -> None:
    entry = stored(cache)
    (cache.folder / "ab.cwasm.4711.new").write_bytes(b"half")
    cache.prune([entry])
    assert {path.stem for path in cache.folder.iterdir()} == {Path(entry.path).stem}
