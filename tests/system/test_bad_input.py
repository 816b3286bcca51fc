"""Bad input: one clear line, the right exit code, and never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from farm import rundir
from tests.guests import wat
from tests.signals import heed_signals
from tests.system.family import FARM, Family, family, run_farm, wait_until

HEAD = '[app]\nname = "bad"\n[brokers.test]\ntype = "memory"\n'


HANDLER = """
from farm.sdk import Message, message_component
@message_component
def handle(message: Message) -> None:
    pass
"""


def component(source: str, more: str = "") -> str:
    return f'{HEAD}[components.hello]\nsource = "{source}"\ntriggers = [{{ broker = "test", topic = "a" }}]\n{more}'


@dataclass(frozen=True)
class Case:
    """A farm.toml, the files beside it, and what `farm up` must say of them."""

    manifest: str | None
    exit_code: int
    says: tuple[str, ...]
    files: dict[str, bytes]
    words: tuple[str, ...] = ()


CORE_MODULE = b"\0asm\x01\0\0\0"
CASES = {
    "no manifest": Case(None, 66, ("farm.toml",), {}),
    "TOML error": Case("[app\n", 78, ("farm.toml:1",), {}),
    "unknown key": Case(HEAD + "colour = 1\n", 78, ("farm.toml:5", "colour"), {}),
    "misspelt key": Case(component("h.wasm", 'deadlin = "1s"\n'), 78, ("farm.toml:8", "deadline"), {"h.wasm": b""}),
    "unknown broker": Case(
        component("h.wasm").replace('broker = "test"', 'broker = "tset"'), 78, ("tset", "test"), {"h.wasm": b""}
    ),
    "unknown broker type": Case(HEAD.replace('"memory"', '"memry"'), 78, ("memry", "memory"), {}),
    "two gateways on one port": Case(
        HEAD.replace('"memory"\n', '"memory"\ngateway = { port = 4010 }\n')
        + '[brokers.other]\ntype = "memory"\ngateway = { port = 4010 }\n',
        78,
        ("4010", "test", "other"),
        {},
    ),
    "an address that is not loopback": Case(
        HEAD.replace('"memory"\n', '"memory"\ngateway = { port = 4010, bind = "0.0.0.0" }\n'),
        78,
        ("0.0.0.0", "127.0.0.1"),
        {},
    ),
    "workers 0": Case(HEAD, 2, ("0",), {}, ("--workers", "0")),
    "missing .wasm": Case(component("nowhere.wasm"), 66, ("nowhere.wasm",), {}),
    "text instead of wasm": Case(component("h.wasm"), 65, ("h.wasm",), {"h.wasm": b"this is no component\n"}),
    "a core module": Case(component("h.wasm"), 65, ("h.wasm", "core module"), {"h.wasm": CORE_MODULE}),
    "an empty file": Case(component("h.wasm"), 65, ("h.wasm",), {"h.wasm": b""}),
    "handler with a syntax error": Case(component("h.py"), 65, ("h.py:2",), {"h.py": b"import os\ndef handle(:\n"}),
    "handler with an import that is not there": Case(
        component("h.py"),
        65,
        ("h.py:2", "jsn"),
        {"h.py": b"from farm.sdk import message_component\nimport jsn\n@message_component\ndef f(m): ...\n"},
    ),
}


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FARM_", "XDG_RUNTIME"))}
    with tempfile.TemporaryDirectory(prefix="farm-") as state:
        yield {**kept, "FARM_STATE_DIR": state}


def assert_one_line(said: bytes, *parts: str) -> None:
    text = said.decode()
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    for part in parts:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"


@pytest.mark.parametrize("name", CASES)
def test_a_farm_that_cannot_start_says_why_in_one_line(name: str, tmp_path: Path, env: dict[str, str]) -> None:
    case = CASES[name]
    if case.manifest is not None:
        (tmp_path / "farm.toml").write_text(case.manifest)
    for file, content in case.files.items():
        (tmp_path / file).write_bytes(content)
    ended = run_farm("up", *case.words, cwd=tmp_path, env=env)
    assert ended.returncode == case.exit_code, ended.stderr.decode()
    assert_one_line(ended.stderr, *case.says)


GUESTS = {
    "truncated": (lambda: wat.wasm("echo")[:-20], ("cut short",)),
    "missing import": (lambda: wat.wasm("request"), ("farm:messaging/requester",)),
    "no known export": (lambda: wat.wasm("none"), ("export",)),
}


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize("command", ["up", "check"])
def test_a_component_that_cannot_run_is_refused_by_name(
    name: str, command: str, tmp_path: Path, env: dict[str, str]
) -> None:
    make, parts = GUESTS[name]
    (tmp_path / "farm.toml").write_text(component("h.wasm"))
    (tmp_path / "h.wasm").write_bytes(make())
    ended = run_farm(command, cwd=tmp_path, env=env)
    assert ended.returncode == 65, ended.stderr.decode()
    assert_one_line(ended.stderr, "h.wasm", *parts)


SERVER = '[app]\nname = "bad"\n[brokers.shop]\ntype = "redis"\nurl = "rediss://127.0.0.1:1"\n'
NO_FILE = SERVER + 'password = { file = "pw" }\n'
NO_PEM = SERVER + 'tls = { ca = "farm.toml" }\n'


@pytest.mark.parametrize(
    ("manifest", "exit_code", "says"),
    [(NO_FILE, 66, ("farm.toml:6", "pw: no such file")), (NO_PEM, 78, ("farm.toml:6", "no certificate"))],
)
def test_a_farm_whose_secrets_or_certificates_are_lacking_does_not_start(
    manifest: str, exit_code: int, says: tuple[str, ...], tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "farm.toml").write_text(manifest)
    ended = run_farm("up", cwd=tmp_path, env=env)
    assert ended.returncode == exit_code, ended.stderr.decode()
    assert_one_line(ended.stderr, *says)
    assert list(Path(env["FARM_STATE_DIR"]).iterdir()) == [], "something was begun"


def test_check_warns_of_a_secret_that_is_not_here_and_refuses_a_file_that_is_wrong(
    tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "farm.toml").write_text(NO_FILE)
    warned = run_farm("check", cwd=tmp_path, env=env)
    assert warned.returncode == 0, warned.stderr.decode()
    assert "warning: cannot use brokers.shop.password.file here (farm.toml:6): " in warned.stderr.decode()
    (tmp_path / "farm.toml").write_text(NO_PEM)
    refused = run_farm("check", cwd=tmp_path, env=env)
    assert refused.returncode == 78
    assert_one_line(refused.stderr, "farm.toml:6", "no certificate")


@pytest.mark.parametrize("words", [("up",), ("status",), ("down",)])
def test_a_state_directory_that_is_none_is_named(words: tuple[str, ...], tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "farm.toml").write_text(HEAD)
    file = Path(env["FARM_STATE_DIR"]) / "x"
    file.touch()
    ended = run_farm(*words, cwd=tmp_path, env={**env, "FARM_STATE_DIR": str(file)})
    assert ended.returncode == 77, ended.stderr.decode()
    assert_one_line(ended.stderr, f"({file}/")


@pytest.mark.parametrize(("word", "exit_code", "says"), [("up", 77, "too long"), ("status", 69, "no farm is running")])
def test_where_no_socket_has_room_for_its_path_no_farm_runs(
    word: str, exit_code: int, says: str, tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "farm.toml").write_text(HEAD)
    ended = run_farm(word, cwd=tmp_path, env={**env, "FARM_STATE_DIR": str(tmp_path / ("x" * 100))})
    assert ended.returncode == exit_code, ended.stderr.decode()
    assert_one_line(ended.stderr, says)


def test_where_too_few_files_may_be_open_for_its_processes_no_farm_runs(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "farm.toml").write_text(HEAD)
    words = ["prlimit", "--nofile=64:64", str(FARM), "up", "--workers", "40", "--log-level", "error"]
    ended = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, timeout=30)
    assert ended.returncode == 77, ended.stderr.decode()
    assert_one_line(ended.stderr, "(64): 41 processes need 114. Raise `ulimit -n`")


def test_a_lock_that_cannot_be_taken_is_named(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "farm.toml").write_text(HEAD)
    monkeypatch.setenv("FARM_STATE_DIR", env["FARM_STATE_DIR"])
    lock = rundir.of(tmp_path / "farm.toml").lock
    lock.mkdir(parents=True)
    ended = run_farm("up", cwd=tmp_path, env=env)
    assert ended.returncode == 77, ended.stderr.decode()
    assert_one_line(ended.stderr, str(lock), "Is a directory")


def test_every_problem_of_a_manifest_is_said_at_once(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "farm.toml").write_text(
        component("h.wasm", 'deadline = "5 apples"\nmemry = "1MiB"\n').replace("[app]", "[ap]")
    )
    (tmp_path / "h.wasm").write_bytes(b"")
    ended = run_farm("check", cwd=tmp_path, env=env)
    assert ended.returncode == 78
    lines = [line for line in ended.stderr.decode().splitlines() if line.startswith("error: ")]
    assert len(lines) >= 3, lines


def test_a_port_that_is_taken_is_named_with_its_broker_before_anything_is_built(
    tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "unbuildable.py").write_text("raise ValueError")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        manifest = component("unbuildable.py")
        manifest = manifest.replace('"memory"\n', f'"memory"\ngateway = {{ port = {port} }}\n')
        (tmp_path / "farm.toml").write_text(manifest)
        ended = run_farm("up", cwd=tmp_path, env=env)
    assert ended.returncode == 69, ended.stderr.decode()
    assert_one_line(ended.stderr, str(port), "test")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_is_told_to_end_while_it_builds_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, env: dict[str, str]
) -> None:
    app, temporary = tmp_path / "app", tmp_path / "tmp"
    app.mkdir()
    temporary.mkdir()
    (app / "farm.toml").write_text(component("hello.py"))
    (app / "hello.py").write_text(HANDLER)
    env = {**env, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [FARM, "up"], cwd=app, env=env, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_signals
    ) as up:
        try:
            wait_until(lambda: any(app.rglob(".*-*")) or up.poll() is not None, "the build")
            builders = psutil.Process(up.pid).children(recursive=True)
            up.send_signal(number)
            _, said = up.communicate(timeout=60)
        finally:
            up.kill()  # one that did not heed it would run on, and be waited for
    assert up.returncode == 0, said.decode()
    assert b"ended before it had started" in said
    assert [*app.rglob(".*-*"), *temporary.iterdir()] == []
    assert psutil.wait_procs(builders, 10)[1] == []


@pytest.mark.parametrize(
    "words", [("status",), ("status", "--json"), ("down",), ("publish", "a", "b"), ("subscribe", "a")]
)
def test_without_a_running_farm_the_line_says_how_to_start_one(
    words: tuple[str, ...], tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "farm.toml").write_text(HEAD)
    ended = run_farm(*words, cwd=tmp_path, env=env)
    assert ended.returncode == 69, ended.stderr.decode()
    assert_one_line(ended.stderr, "farm up")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    manifest = component("echo.wasm").replace('topic = "a"', 'topic = "hello.*", publish = { subject = "out" }')
    with family(tmp_path_factory.mktemp("running"), manifest, {"echo": wat.wasm("echo")}) as farm:
        farm.up()
        yield farm


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("publish", "", "x"), ("empty",)),
        (("publish", "a..b", "x"), ("empty token",)),
        (("publish", "a\tb", "x"), ("control character",)),
        (("publish", "a" * 257, "x"), ("257 bytes",)),
        (("publish", "hello.*", "x"), ("wildcard",)),
        (("publish", "$JS.API.STREAM.DELETE.x", "x"), ("reserved",)),
        (("publish", "hello.x", "x", "--broker", "tset"), ("tset", "test")),
        (("subscribe", "a..b"), ("empty token",)),
        (("subscribe", "a", "--broker", "tset"), ("tset",)),
    ],
)
def test_what_cannot_be_published_or_heard_is_a_usage_error(
    running: Family, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    ended = running.run(*words)
    assert ended.returncode == 2, ended.stderr.decode()
    assert_one_line(ended.stderr, *parts)


@pytest.mark.parametrize("words", [["status", "--watch"], ["status", "--watch", "--json"], ["subscribe", "hello.*"]])
def test_what_has_no_end_ends_with_its_reader_and_that_is_no_error(running: Family, words: list[str]) -> None:
    with subprocess.Popen(
        [FARM, *words], cwd=running.folder, env=running.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        (watching.stderr if words[0] == "subscribe" else watching.stdout).readline()
        watching.stdout.close()
        assert watching.wait(30) == 0
        assert watching.stderr.read() == b""


def test_a_payload_over_the_limit_is_refused_with_both_numbers(running: Family) -> None:
    (running.folder / "large").write_bytes(b"x" * ((1 << 20) + 1))
    ended = running.run("publish", "hello.x", "--file", "large", "--whole")
    assert ended.returncode == 2, ended.stderr.decode()
    assert_one_line(ended.stderr, "1048577", "1048576")


def test_a_second_farm_here_is_told_the_pid_of_the_first(running: Family) -> None:
    assert running.process is not None
    ended = running.run("up")
    assert ended.returncode == 75, ended.stderr.decode()
    assert_one_line(ended.stderr, str(running.process.pid))


def test_a_publish_that_nobody_hears_names_the_pattern_that_was_meant(running: Family) -> None:
    ended = running.run("publish", "helo.world", "x")
    assert ended.returncode == 0
    assert b"accepted, but no trigger or listener matches helo.world; nearest: hello.*" in ended.stdout + ended.stderr
