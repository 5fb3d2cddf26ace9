"""One machine of each architecture, built once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from samples import Machine, build, write
from samples.profiles import PROFILES

from .walk import Walker


@cache
def machine(profile: str = "xpsp3-x86-pae", scenario: str = "leak", **parameters: object) -> Machine:
    """A small machine; the same object for the same parameters."""
    known = {"seed": 11, "ram_mb": 32, "cycles": 2500} | parameters
    return build(profile, scenario, **known)


@pytest.fixture
def raw(tmp_path: Path) -> Callable[[Machine], Walker]:
    """A machine as a raw image under the test's own reader."""

    def make(made: Machine) -> Walker:
        data = write(made, "raw", tmp_path / "sample.raw").read_bytes()
        return Walker(data, PROFILES[made.options.profile].arch.name, made.dtb)

    return make
