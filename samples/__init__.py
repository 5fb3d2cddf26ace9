"""Deterministic writer of Windows memory images and of the truth about them.

It restates every format and offset on its own and imports nothing from the readers, so that a
mistake there cannot hide behind the same mistake here.

    from samples import build, write
    machine = build(profile="xpsp3-x86-pae", scenario="leak", seed=1, ram_mb=64)
    write(machine, "crash32-kernel", "sample.dmp", truth=True)
"""

from __future__ import annotations

from .containers import CONTAINERS, fits, write
from .machine import Machine, build
from .options import SCENARIOS
from .profiles import PROFILES

__all__ = ["CONTAINERS", "PROFILES", "SCENARIOS", "Machine", "build", "fits", "write"]
