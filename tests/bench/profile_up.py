"""`farm` whose processes let themselves be watched, for `make profile` alone: farm itself has no such switch.

A child of farm makes itself non-dumpable, and then only root may read its stack. Here it takes that back, and where
the kernel lets only ancestors look (Yama), it allows any process of the same user.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

from farm.control import kernel
from farm.control.cli.main import main

PR_SET_DUMPABLE: Final = 4  # linux/prctl.h
PR_SET_PTRACER: Final = 0x59616D61
PR_SET_PTRACER_ANY: Final = ctypes.c_ulong(-1)

harden: Final = kernel.harden


def harden_but_show() -> None:
    """As `kernel.harden`, and let others of the same user look. Without Yama the second word means nothing."""
    harden()
    prctl = ctypes.CDLL(None).prctl
    zero = ctypes.c_ulong(0)
    prctl(PR_SET_DUMPABLE, ctypes.c_ulong(1), zero, zero, zero)
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, zero, zero, zero)


if __name__ == "__main__":
    kernel.harden = harden_but_show
    sys.exit(main())
