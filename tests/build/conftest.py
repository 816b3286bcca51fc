"""Components that the tests here share; each is built once a run."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from farm.build.child import build_in_child
from tests.build.host import Guest
from tests.sources import ROOT

GUESTS: Final = ROOT / "tests" / "guests" / "python"

# A handler that leans on all that a handler may lean on: modules and data beside it, and a package.
SHOP: Final = {
    "farm.toml": "",
    "names.txt": "total of it",
    "priced.py": """\
from pathlib import Path

import pure_prices
from farm.sdk import Message, message_component
from rates import vat
from tables import rounding

NAMES = Path(__file__).with_name("names.txt").read_text().split()


@message_component
def handle(message: Message) -> Message:
    import late_prices
    try:
        import quicker_prices as prices
    except ImportError:
        prices = pure_prices
    if message.text == "fail":
        return rounding.to_cents(message)
    return Message(f"{NAMES[0]}: {rounding.to_cents(prices.price_of(message.text) * vat() * late_prices.FACTOR)}")
""",
    "rates.py": "def vat():\n    return 1.25\n",
    "late_prices.py": "FACTOR = 2\n",
    "tables/__init__.py": "",
    "tables/rounding.py": "from . import _cents\n\n\ndef to_cents(value):\n    return _cents.WRITTEN.format(value)\n",
    "tables/_cents.py": "WRITTEN = '{:.2f}'\n",
    "unused.py": "raise SystemExit\n",
    "requirements.txt": "--no-index\n--find-links wheels\npure-prices==1.0\n",
}


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Files by their paths from `folder`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_wheel(folder: Path, name: str, tag: str, requires: str = "") -> None:
    """A wheel of one module, `price_of` in it, as its name and tag say."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": "def price_of(text):\n    return float(text)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{each},,\n" for each in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for each, text in (*files.items(), (f"{info}/RECORD", record)):
            wheel.writestr(each, text)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The component of a handler in tests/guests/python, by its name."""
    folder = tmp_path_factory.mktemp("guests")
    (folder / "farm.toml").touch()

    def build(name: str) -> Path:
        source = folder / f"{name}.py"
        shutil.copyfile(GUESTS / source.name, source)
        return build_in_child(source)

    return build


@pytest.fixture(scope="session")
def conduct_component(built: Callable[[str], Path]) -> Guest:
    return Guest(built("conduct"))


@pytest.fixture
def conduct(conduct_component: Guest) -> Guest:
    """A new instance of the guest that does what the subject says."""
    conduct_component.renew()
    return conduct_component


@pytest.fixture(scope="session")
def patient_component(built: Callable[[str], Path]) -> Guest:
    return Guest(built("patient"))


@pytest.fixture
def patient(patient_component: Guest) -> Guest:
    """A new instance of the `async def` guest."""
    patient_component.renew()
    return patient_component


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SHOP, built."""
    folder = tmp_path_factory.mktemp("shop")
    write_files(folder, SHOP)
    make_wheel(folder / "wheels", "pure_prices", "py3-none-any")
    build_in_child(folder / "priced.py", ["*.txt"])
    return folder
