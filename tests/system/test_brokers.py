"""A whole farm whose broker is a server: secrets, a server that is away, one that must be there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.client.blocking import Missed
from tests.guests import wat
from tests.servers import NatsServer, free_port
from tests.system.family import Family, family, wait_until

PASSWORD = "gehe1m-of-the-test"
MANIFEST = """
[app]
name = "shop"
[brokers.shop]
type = "nats"
servers = ["nats://127.0.0.1:PORT"]
user = "farm"
password = { env = "SHOP_PASSWORD" }
[components.echo]
source = "echo.wasm"
triggers = [{ broker = "shop", queue = { topic = "in.*", group = "g" }, publish = { subject = "out" } }]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats", f"authorization {{ user: farm, password: {PASSWORD} }}")
    server.port = free_port()
    yield server
    server.stop()


@pytest.fixture
def farm(tmp_path: Path, server: NatsServer) -> Iterator[Family]:
    manifest = MANIFEST.replace("PORT", str(server.port))
    with family(tmp_path / "app", manifest, {"echo": wat.wasm("echo")}) as made:
        made.env["SHOP_PASSWORD"] = PASSWORD
        yield made


def echoes(farm: Family) -> None:
    """A message goes through the component and its broker."""
    with farm.connect() as client, client.subscribe("out") as heard:
        client.publish("in.x", b"Ada")
        word = next(iter(heard))
    assert not isinstance(word, Missed)
    assert (word.subject, word.payload) == ("out", b"Ada")


def holds(pid: int, secret: bytes) -> bool:
    """Whether a process has these bytes in its memory; where nobody may look, nobody can find them."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in maps:
                if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line):
                    start, end = (int(each, 16) for each in found.groups())
                    memory.seek(start)
                    with contextlib.suppress(OSError):  # a region that nobody can read hides none of the others
                        if secret in (memory.read(min(end - start, 64 << 20)) or b""):
                            return True
    except PermissionError:
        return False
    return False


def test_a_secret_of_the_environment_is_with_nobody_but_ingest(server: NatsServer, farm: Family) -> None:
    server.start()
    farm.up(workers=1)
    farm.wait_ready()
    echoes(farm)
    assert farm.process is not None
    pids = {role: farm.pids(role)[0] for role in ("ingest", "worker")} | {"supervisor": farm.process.pid}
    for role, pid in pids.items():
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes(), role
    if os.geteuid() == 0:
        assert holds(pids["ingest"], PASSWORD.encode()), "the search finds nothing where there is something"
    assert not holds(pids["worker"], PASSWORD.encode())
    assert not holds(pids["supervisor"], PASSWORD.encode())
    descriptors = [str(each.readlink()) for each in Path(f"/proc/{pids['worker']}/fd").iterdir()]
    assert not [each for each in descriptors if "farm-secrets" in each]
    said = farm.log_text() + farm.run("status", "--json").stdout.decode() + farm.run("config", "show").stdout.decode()
    assert PASSWORD not in said
    assert farm.down() == 0


def test_a_secret_in_a_file_is_with_nobody_but_ingest(server: NatsServer, farm: Family) -> None:
    path, secret = farm.folder / "farm.toml", farm.folder / "pw"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    path.write_text(path.read_text().replace('{ env = "SHOP_PASSWORD" }', '{ file = "pw" }'))
    del farm.env["SHOP_PASSWORD"]
    server.start()
    farm.up(workers=1)
    farm.wait_ready()
    assert farm.process is not None
    if os.geteuid() == 0:
        assert holds(farm.pids("ingest")[0], PASSWORD.encode()), "the search finds nothing where there is something"
    assert not holds(farm.pids("worker")[0], PASSWORD.encode())
    assert not holds(farm.process.pid, PASSWORD.encode())
    assert farm.down() == 0


def test_a_variable_that_is_to_hold_a_secret_and_is_not_there_ends_the_start(farm: Family) -> None:
    del farm.env["SHOP_PASSWORD"]
    done = farm.run("up")
    assert (done.returncode, done.stderr.decode()) == (
        78,
        "error: cannot use brokers.shop.password.env (farm.toml:8): the variable SHOP_PASSWORD is not set. "
        "Set it for `farm up`\n",
    )


def test_a_farm_starts_without_its_server_and_works_once_that_is_there(server: NatsServer, farm: Family) -> None:
    farm.up(workers=1)
    broker = farm.counters()["brokers"]["shop"]
    assert broker["state"] == "down"
    assert "refused" in broker["fault"]
    assert farm.status()["state"] == "degraded"
    refused = farm.run("publish", "in.x", "Ada", "--timeout", "1s")
    assert refused.returncode in (69, 75)
    assert b"connection refused" in refused.stderr
    server.start()
    wait_until(lambda: farm.counters()["brokers"]["shop"]["state"] == "up", "the broker to be up")
    echoes(farm)
    assert farm.counters()["brokers"]["shop"]["fault"] is None
    assert farm.down() == 0


def test_a_farm_does_not_start_without_a_server_that_is_required(farm: Family, server: NatsServer) -> None:
    path = farm.folder / "farm.toml"
    path.write_text(path.read_text().replace('type = "nats"', 'type = "nats"\nrequired = true'))
    done = farm.run("up", "--workers", "1")
    assert done.returncode == 69
    [line] = [line for line in done.stderr.decode().splitlines() if line.startswith("error:")]
    assert line.startswith(f"error: broker shop is down: nats://127.0.0.1:{server.port}: ")


def test_a_wrong_password_is_one_line_and_shows_none(server: NatsServer, farm: Family) -> None:
    server.start()
    farm.env["SHOP_PASSWORD"] = "another-password"
    farm.up(workers=1)
    broker = farm.counters()["brokers"]["shop"]
    assert broker["state"] == "down"
    assert "uthoriz" in broker["fault"]
    assert "another-password" not in farm.log_text() + str(broker)
    assert farm.down() == 0
