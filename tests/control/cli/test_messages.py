"""`farm publish` and `farm subscribe`, on a farm whose ingest is a stand-in."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from farm import rundir
from farm.client.blocking import Farm
from farm.control.cli.main import main
from farm.wire.relay import Publish
from tests.client.stand_in import StandIn, eventually
from tests.signals import heed_signals

FARM = (sys.executable, "-c", "import sys; from farm.control.cli.main import main; sys.exit(main())")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    app = tmp_path / "app"
    app.mkdir()
    (app / "farm.toml").touch()  # found, and never read
    monkeypatch.chdir(app)
    return app


@pytest.fixture
def ingest(folder: Path) -> Iterator[StandIn]:
    directories = rundir.of(folder / "farm.toml")
    directories.make()
    with StandIn(directories) as one:
        yield one


def started(*words: str) -> subprocess.Popen[bytes]:
    """A `farm` command that goes on by itself."""
    return subprocess.Popen(
        [*FARM, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        preexec_fn=heed_signals,
    )


def unkeyed(publishes: list[Publish]) -> list[Publish]:
    """Without the random keys that each must have, for it may be offered again."""
    assert all(one.key for one in publishes)
    return [structs.replace(one, key=None) for one in publishes]


def test_a_publish_says_its_id_and_what_matched(ingest: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "hello.world", "Ada"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("accepted by test: 1 trigger and 0 listeners match hello.world\n")
    assert re.fullmatch("key-[0-9a-f]{32}-1", said.split()[0])
    assert unkeyed(ingest.publishes) == [Publish("hello.world", b"Ada")]


def test_a_publish_that_matches_nothing_says_what_was_perhaps_meant(
    ingest: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest.triggers, ingest.nearest = 0, "hello.*"
    assert main(["publish", "helo.world", "Ada"]) == 0
    assert "accepted, but no trigger or listener matches helo.world; nearest: hello.*\n" in capsys.readouterr().out


def test_a_broker_may_be_named(ingest: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "a", "x", "--broker", "secondary"]) == 0
    assert "accepted by secondary" in capsys.readouterr().out
    assert unkeyed(ingest.publishes) == [Publish("a", b"x", "secondary")]


@pytest.mark.parametrize("payload", ["", "-", "--", "grüß"])
def test_a_payload_is_what_was_written(ingest: StandIn, payload: str) -> None:
    assert main(["publish", "a", "--", payload]) == 0
    assert unkeyed(ingest.publishes) == [Publish("a", payload.encode())]


def test_a_payload_that_is_not_text_is_published_to_the_byte(ingest: StandIn) -> None:
    ended = subprocess.run([*FARM, "publish", "a", b"\xff\xfe"], timeout=60)
    assert ended.returncode == 0
    assert unkeyed(ingest.publishes) == [Publish("a", b"\xff\xfe")]


def test_each_line_of_a_file_is_a_message(ingest: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lines").write_bytes(b"one\r\n\ntwo words\n\xff\nlast")
    assert main(["publish", "a", "--file", "lines"]) == 0
    assert capsys.readouterr().out == "5 accepted\n"
    assert [one.payload for one in ingest.publishes] == [b"one", b"", b"two words", b"\xff", b"last"]


def test_a_file_may_be_one_message(ingest: StandIn, folder: Path) -> None:
    (folder / "photo").write_bytes(b"\x00\n\xff")
    assert main(["publish", "a", "--file", "photo", "--whole"]) == 0
    assert unkeyed(ingest.publishes) == [Publish("a", b"\x00\n\xff")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "error: no such file (none)\n"),
        (".", "error: cannot read the file (.): it is a folder\n"),
        ("lines/x", "error: cannot read the file (lines/x): Not a directory\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_66_and_says_why(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    (folder / "lines").touch()
    assert main(["publish", "a", "--file", name]) == 66
    assert capsys.readouterr().err == said


def test_lines_of_a_pipe_are_published_as_they_come(ingest: StandIn) -> None:
    with started("publish", "a", "--file", "-") as publishing:
        assert publishing.stdin is not None
        for n in range(3):
            publishing.stdin.write(f"{n}\n".encode())
            eventually(lambda n=n: len(ingest.publishes) == n + 1)
        publishing.stdin.close()
        assert publishing.wait(60) == 0


def test_twenty_thousand_lines_travel_in_full_batches(ingest: StandIn, folder: Path) -> None:
    (folder / "lines").write_text("".join(f"{n}\n" for n in range(20_000)))
    assert main(["publish", "a", "-f", "lines"]) == 0
    assert [int(one.payload) for one in ingest.publishes] == list(range(20_000))
    assert len(ingest.batches) < 120


def test_what_matches_nothing_in_a_file_is_counted(
    ingest: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest.triggers, ingest.nearest = 0, "hello.*"
    (folder / "lines").write_text("1\n2\n")
    assert main(["publish", "helo", "-f", "lines"]) == 0
    assert "no trigger or listener matches helo for 2 of them; nearest: hello.*" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["publish", "a..b", "x"], 2, "empty token"),
        (["publish", "a"], 2, "nothing to publish"),
        (["publish", "a", "x", "--file", "f"], 2, "two things to publish"),
        (["publish", "a", "x", "--whole"], 2, "--whole without --file"),
        (["publish", "a", "x", "--timeout", "5"], 2, "5"),
        (["publish", "a", "--file", "missing"], 66, "missing"),
        (["publish", "a", "--file", "."], 66, "folder"),
        (["publish", "a", "--file", "large", "--whole"], 2, "1048577 bytes exceed"),
        (["publish", "a", "--file", "large"], 2, "line 1"),
        (["subscribe", "a", "--count", "0"], 2, "count"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    ingest: StandIn, capsys: pytest.CaptureFixture[str], words: list[str], exit_code: int, said: str
) -> None:
    Path("large").write_bytes(b"x" * (1 << 20 | 1))
    assert main(words) == exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert ingest.publishes == []


@pytest.mark.parametrize("words", [["publish", "a", "x"], ["subscribe", "a"]])
def test_without_a_farm_it_is_69(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 69
    assert "no farm is running here" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["publish", "a", "x"], ["subscribe", "a"]])
def test_while_a_farm_still_builds_it_is_75_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    directories = rundir.of(folder / "farm.toml")
    directories.make()
    lock = directories.acquire("shop")  # as `farm up` does before it builds
    assert main(words) == 75
    assert capsys.readouterr().err == (
        f"error: the farm here is still starting (pid {os.getpid()}): it builds and compiles its components. "
        "Try again when `farm status` says that it is ready\n"
    )
    os.close(lock)
    assert main(words) == 69


def test_a_refusal_for_good_has_its_own_code(ingest: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.refusal = ("unknown-broker", "no broker 'x'", False)
    assert main(["publish", "a", "x", "--broker", "x"]) == 2
    assert "no broker 'x'" in capsys.readouterr().err


def test_a_farm_that_stays_full_is_75_and_says_how_many_it_took(
    ingest: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lines").write_text("x\n" * 600)
    ingest.take_count, ingest.refusal = 250, ("full", "the broker is full", True)
    assert main(["publish", "a", "-f", "lines", "--timeout", "100ms"]) == 75
    said = capsys.readouterr()
    assert said.out == "250 accepted\n"
    assert "gave up after 100ms without progress: the broker is full. " in said.err


def test_a_broker_that_stays_away_is_69(ingest: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.refusal = ("broker-unavailable", "broker 'js' is down", True)
    assert main(["publish", "a", "x", "--timeout", "100ms"]) == 69
    [line] = capsys.readouterr().err.splitlines()
    assert "gave up after 100ms: broker 'js' is down. " in line


def test_the_place_in_a_stream_is_told(ingest: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.sequence = 17
    assert main(["publish", "a", "x"]) == 0
    assert "accepted by test as 17: 1 trigger and 0 listeners match a\n" in capsys.readouterr().out
    ingest.triggers = 0
    assert main(["publish", "a", "x"]) == 0
    assert "accepted by test as 17: no trigger or listener of this farm matches a\n" in capsys.readouterr().out


def test_without_waiting_refusals_are_counted(
    ingest: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lines").write_text("x\n" * 600)
    ingest.take_count, ingest.refusal = 250, ("full", "the broker is full", True)
    assert main(["publish", "a", "-f", "lines", "--no-wait"]) == 75
    assert capsys.readouterr().out == "250 accepted, 350 refused\n"


def test_a_terminal_is_shown_a_bar_and_a_pipe_is_not(ingest: StandIn, folder: Path) -> None:
    (folder / "lines").write_text("x\n" * 600)
    ours, theirs = pty.openpty()
    ended = subprocess.run([*FARM, "publish", "a", "-f", "lines"], stderr=theirs, stdout=subprocess.PIPE, timeout=60)
    os.close(theirs)
    assert ended.returncode == 0
    assert b"publishing" in os.read(ours, 65536)
    os.close(ours)
    piped = subprocess.run([*FARM, "publish", "a", "-f", "lines"], capture_output=True, timeout=60)
    assert (piped.returncode, piped.stderr) == (0, b"")


def heard_by(ingest: StandIn, *words: str, payloads: list[bytes]) -> tuple[bytes, bytes]:
    """What `farm subscribe` prints of these messages on subject `good.bye`, and says besides."""
    with started("subscribe", *words, "--count", str(len(payloads))) as hearing:
        assert hearing.stderr is not None
        said = hearing.stderr.readline()
        with Farm.connect(ingest.rundir) as farm:
            for payload in payloads:
                farm.publish("good.bye", payload, headers=(("x-a", "1"), ("x-a", "2")))
        out, err = hearing.communicate(timeout=60)
        assert hearing.returncode == 0
        return out, said + err


def test_a_subscriber_says_when_it_hears_and_prints_a_line_a_message(ingest: StandIn) -> None:
    out, err = heard_by(ingest, "good.*", payloads=[b"Goodbye", "grüß".encode()])
    assert out.decode() == "good.bye Goodbye\ngood.bye grüß\n"
    assert err == b"subscribed\n"


def test_nothing_of_a_message_reaches_a_terminal_raw(ingest: StandIn) -> None:
    out, _ = heard_by(ingest, "good.*", payloads=[b"\x1b]0;title\x07\r\n", b"\xff", "\u202e\x9b".encode()])
    assert out == b"good.bye \\x1b]0;title\\x07\\r\\n\ngood.bye \\xff\ngood.bye \\u202e\\x9b\n"


def test_for_programs_a_message_is_a_json_object_a_line(ingest: StandIn) -> None:
    out, _ = heard_by(ingest, "good.*", "--json", payloads=["gr\u00fc\u00df\n\x7f".encode(), b"\xff"])
    assert all(32 <= byte < 127 for line in out.splitlines() for byte in line)
    first, second = (json.loads(line) for line in out.splitlines())
    assert first == {
        "id": first["id"],
        "broker": "test",
        "subject": "good.bye",
        "payload": "gr\u00fc\u00df\n\x7f",
        "headers": {"x-a": "1, 2"},
        "reply_to": None,
    }
    assert second["payload_base64"] == "/w=="
    assert "payload" not in second


def test_a_subscriber_says_why_its_broker_is_down(ingest: StandIn) -> None:
    ingest.status = b'{"brokers": {"test": {"state": "down", "fault": "redis://h: refused\\u001b"}}, "components": {}}'
    with started("subscribe", "good.*") as hearing:
        assert hearing.stderr is not None
        assert hearing.stderr.readline() == b"subscribed, but broker 'test' is down: redis://h: refused\\x1b\n"
        hearing.kill()


def test_a_reader_that_has_seen_enough_ends_a_subscriber(ingest: StandIn) -> None:
    with started("subscribe", "good.*") as hearing:
        assert hearing.stderr is not None
        assert hearing.stdout is not None
        assert hearing.stderr.readline() == b"subscribed\n"
        hearing.stdout.close()
        assert hearing.wait(60) == 0
        assert hearing.stderr.read() == b""


def test_ctrl_c_is_the_way_out_of_a_subscription(ingest: StandIn) -> None:
    with started("subscribe", "good.*") as hearing:
        assert hearing.stderr is not None
        assert hearing.stderr.readline() == b"subscribed\n"
        hearing.send_signal(2)
        assert hearing.wait(60) == 0
        assert hearing.stderr.read() == b""


def test_a_subscriber_outlives_ingest_and_says_that_something_may_be_missing(ingest: StandIn) -> None:
    with started("subscribe", "good.*", "--count", "1") as hearing:
        assert hearing.stderr is not None
        assert hearing.stderr.readline() == b"subscribed\n"
        ingest.restart()
        assert hearing.stderr.readline() == b"gap: the farm restarted; messages may be missing here\n"
        eventually(lambda: ingest.listeners() == 1)
        with Farm.connect(ingest.rundir) as farm:
            farm.publish("good.bye", b"x")
        assert hearing.wait(60) == 0


def test_headers_travel_with_every_message(ingest: StandIn, folder: Path) -> None:
    (folder / "lines").write_bytes(b"one\ntwo\n")
    words = ["-H", "X-Order: 7", "--header", "content-type:text/plain"]
    assert main(["publish", "a", "--file", "lines", *words]) == 0
    assert {one.headers for one in ingest.publishes} == {(("x-order", "7"), ("content-type", "text/plain"))}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("x-order 7", "bad header 'x-order 7': no colon in it"),
        ("Nats-Rollup: all", "header 'nats-rollup' may not travel: only content-type"),
        ("x-a: b\nc", "headers that may not travel: the value of header 'x-a' holds '\\n'"),
    ],
)
def test_a_header_that_may_not_travel_is_refused_in_one_line(
    ingest: StandIn, capsys: pytest.CaptureFixture[str], header: str, said: str
) -> None:
    assert main(["publish", "a", "x", "-H", header]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert ingest.publishes == []


def test_subscribe_prints_headers_when_asked(ingest: StandIn) -> None:
    for words, wanted in (([], b"a hi\n"), (["--headers"], b"a [x-order: 7] [ce-id: \\x1b] hi\n")):
        listener = started("subscribe", "a", "--count", "1", *words)
        assert listener.stderr is not None
        assert listener.stderr.readline() == b"subscribed\n"
        with Farm.connect(ingest.rundir) as farm:
            farm.publish("a", "hi", headers=(("x-order", "7"), ("ce-id", "\x1b")))
        assert listener.communicate(timeout=60)[0] == wanted
