"""Fixtures that the plugin tests share; volatility3 takes a second to start, so runs are few."""

from __future__ import annotations

from pathlib import Path

import pytest

from samples import Machine, build
from tests.plugins.volatility import Volatility


@pytest.fixture(scope="session")
def vol(tmp_path_factory: pytest.TempPathFactory) -> Volatility:
    """volatility3 without any Windows symbol table."""
    return Volatility(tmp_path_factory.mktemp("volatility"))


@pytest.fixture(scope="session")
def vol_with_symbols(tmp_path_factory: pytest.TempPathFactory) -> Volatility:
    """volatility3 with the real symbol table of XP SP3's ntkrnlpa.exe."""
    return Volatility(tmp_path_factory.mktemp("volatility")).with_symbols()


@pytest.fixture(scope="session")
def xp_machine() -> Machine:
    """XP SP3 PAE whose page directory pointer table is not at the beginning of its page."""
    return build(profile="xpsp3-x86-pae", scenario="leak", seed=7, ram_mb=48, cycles=2000, dtb_offset=0x2A0)


@pytest.fixture(scope="session")
def xp_kernel_dump(xp_machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its kernel dump (type 2)."""
    from samples import write

    return write(xp_machine, "crash32-kernel", tmp_path_factory.mktemp("sample") / "xp.dmp")
