"""The directories of a farm."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from farm import rundir
from farm.errors import AlreadyRunning, NoRoom, NotPermitted


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def manifest(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "farm.toml"


def test_two_clones_of_one_project_do_not_share_directories(tmp_path: Path) -> None:
    one, two = rundir.of(manifest(tmp_path / "a" / "shop")), rundir.of(manifest(tmp_path / "b" / "shop"))
    assert one.state != two.state
    assert one.state.name.startswith("shop-")


def test_a_link_to_a_manifest_finds_the_same_farm(tmp_path: Path) -> None:
    real = manifest(tmp_path / "shop")
    real.touch()
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    assert rundir.of(link) == rundir.of(real)


def test_sockets_go_to_the_runtime_directory_of_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "xdg"))
    assert rundir.of(manifest(tmp_path / "shop")).admin.parent.parent == tmp_path / "xdg"


def test_a_user_without_a_home_is_told_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> object:
        raise KeyError(uid)

    for name in ("FARM_STATE_DIR", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(NotPermitted, match="has no home.*Set FARM_STATE_DIR"):
        rundir.of(manifest(tmp_path / "shop"))


def test_a_farm_that_runs_is_found_whatever_the_session_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "a line\nbroken"))
    started = rundir.of(manifest(tmp_path / "shop"))
    started.make()
    lock = started.acquire("shop")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    later = rundir.of(manifest(tmp_path / "shop"))
    assert later.runtime != started.runtime
    assert later.running() == started
    os.close(lock)
    assert later.running() == later


def test_a_farm_that_wrote_no_name_of_its_app_is_found(tmp_path: Path) -> None:
    found = rundir.of(manifest(tmp_path / "shop"))
    found.make()
    lock = found.acquire("shop")
    found.lock.write_text(f"{os.getpid()}\n{found.runtime}\n")
    assert found.holder() == rundir.Holder(os.getpid(), "", found.runtime)
    os.close(lock)


def test_directories_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    made = rundir.of(manifest(tmp_path / "shop"))
    made.state.mkdir(parents=True, mode=0o755)
    made.make()
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (made.state, made.runtime, made.cache)} == {0o700}


def test_a_link_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    made = rundir.of(manifest(tmp_path / "shop"))
    made.state.parent.mkdir(parents=True)
    made.state.symlink_to(tmp_path)
    with pytest.raises(NotPermitted, match="not a directory"):
        made.make()


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    found = rundir.of(manifest(tmp_path / "shop"))
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(NoRoom, match="cannot make a directory .*: No space left on device. Free some disk space"):
        found.make()


def test_a_place_where_nothing_can_be_made_is_told_with_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(NotPermitted, match="name another place with FARM_STATE_DIR"):
        rundir.of(manifest(tmp_path / "shop")).make()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    made = rundir.of(manifest(tmp_path / "shop"))
    made.state.mkdir(parents=True)
    os.chown(made.state, 12345, 12345)
    with pytest.raises(NotPermitted, match="uid 12345"):
        made.make()


def test_a_socket_path_that_the_system_cannot_bind_is_refused_with_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(NotPermitted, match=r"\d+ bytes exceed the system's limit of 107"):
        rundir.of(manifest(tmp_path / "shop")).make()


def test_the_second_to_take_the_lock_hears_the_pid_of_the_first(tmp_path: Path) -> None:
    made = rundir.of(manifest(tmp_path / "shop"))
    made.make()
    fd = made.acquire("shop")
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        made.acquire("shop")
    os.close(fd)
    os.close(made.acquire("shop"))


def test_who_holds_the_lock_is_known_and_asking_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "s"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    found = rundir.of(tmp_path / "farm.toml")
    assert found.holder() is None
    found.state.mkdir(parents=True)
    lock = found.acquire("shop")
    assert found.holder() == rundir.Holder(os.getpid(), "shop", found.runtime)
    os.close(lock)
    assert found.holder() is None
    os.close(found.acquire("shop"))
