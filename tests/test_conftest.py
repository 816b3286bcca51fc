from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_a_program_that_is_there_is_found(require_program: Any) -> None:
    assert Path(require_program("sh")).is_file()


def test_a_missing_program_skips_a_test_by_its_name_on_a_laptop(require_program: Any) -> None:
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        require_program("no-such-program", in_ci=False)


def test_a_missing_program_fails_a_test_in_ci(require_program: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed, and CI skips nothing"):
        require_program("no-such-program", in_ci=True)
