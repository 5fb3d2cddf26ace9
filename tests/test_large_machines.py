"""Machines that are not laid out like most: /3GB, RAM above 4 GB. Figures against the writer's own books."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dumpscan
import samples
from dumpscan.case import Case, Options, open_case
from dumpscan.kernel.machine import system_start
from dumpscan.memory.virtual import VirtualMemory
from dumpscan.pool.bigpages import read_big_pages
from dumpscan.pool.tables import find_tables
from dumpscan.records import replace
from tests.pool.machine import HandMemory
from tests.test_samples import blocks_truth, check_identity, tracker_of, tracker_truth, walked

FOUR_GB = 0x100000
"""Page frames below 4 GB."""


def check(case: Case, truth: dict[str, Any], *states: str) -> None:
    check_identity(case, truth)
    assert tracker_of(case) == tracker_truth(truth)
    assert walked(case) == blocks_truth(truth, *states)
    assert case.verdict().verdict.code == truth["expected"]["verdict"]
    assert {row.unexplained_bytes for row in case.census("pages").reconciliation} == {0}


@pytest.fixture(
    scope="module",
    params=["xpsp3-x86-pae", "xpsp3-x86", "xpsp2-x86-pae-mp", "2003-sp2-x86-pae", "2003-sp2-x86-mp"],
)
def three_gb(request: pytest.FixtureRequest) -> samples.Machine:
    return samples.build(profile=request.param, three_gb=True, ram_mb=24, seed=5, cycles=1500)


@pytest.mark.parametrize("container", ["crash32-kernel", "raw", "elf32"])
def test_system_space_from_c0000000(three_gb: samples.Machine, container: str, tmp_path: Path) -> None:
    case = dumpscan.open(samples.write(three_gb, container, tmp_path / "a.img"))
    check(case, three_gb.truth, "valid", *(() if container.endswith("kernel") else ("transition",)))
    kernel = case.kernel
    assert kernel.base > 0xE0000000 and kernel.system_start == 0xC0000000
    # The writer's processes have memory at 0xA0000000: not the system's here.
    assert not kernel.is_kernel_address(0xA0000000)
    assert kernel.is_kernel_address(0xC0000000)


def test_without_the_switch_system_space_is_from_80000000(tmp_path: Path) -> None:
    machine = samples.build(profile="xpsp3-x86", ram_mb=24, seed=5, cycles=200)
    case = dumpscan.open(samples.write(machine, "raw", tmp_path / "a.raw"))
    assert case.kernel.system_start == 0x80000000


def test_three_gb_with_page_files(tmp_path: Path) -> None:
    machine = samples.build(profile="2003-sp2-x86-pae", three_gb=True, ram_mb=24, seed=5, page_files=1)
    image = samples.write(machine, "full", tmp_path / "a.dmp")
    case = open_case(image, Options(page_files=(tmp_path / "a.dmp.pagefile0.sys",)))
    check(case, machine.truth, "valid", "transition", "pagefile")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0xC0000000, 0xC0000000),
        (0x80000000, 0x80000000),
        (0xB0000000, 0xB0000000),
        (0xF0000000, None),  # above the kernel
        (0x7FFF0000, None),  # not the system's by any boundary
        (0xC0001000, None),
        (0, None),
    ],
)
def test_the_boundary_is_believed_where_it_is_possible(value: int, expected: int | None) -> None:
    memory = HandMemory()
    memory.put_pointer(0xE0500000, value)
    space: VirtualMemory = memory  # type: ignore[assignment]
    assert system_start(space, 0xE0500000, 0xE04D7000) == expected
    assert system_start(space, 0xE0600000, 0xE04D7000) is None
    assert system_start(space, None, 0xE04D7000) is None


def test_an_entry_of_the_big_page_table_in_user_space_is_damaged(
    three_gb: samples.Machine, tmp_path: Path
) -> None:
    """Were system space to begin at 0xF0000000, all of paged pool would be a user's."""
    kernel = dumpscan.open(samples.write(three_gb, "full", tmp_path / "a.dmp")).kernel
    tables = find_tables(kernel)
    whole, cut = (read_big_pages(k, tables) for k in (kernel, replace(kernel, range_start=0xF0000000)))
    assert whole is not None and cut is not None
    low = sum(int(entry["va"], 16) < 0xF0000000 for entry in three_gb.truth["big_table"]["entries"])
    assert low > 0
    assert int(whole.live.sum()) - int(cut.live.sum()) == low


def above_the_hole(profile: str) -> samples.Machine:
    """RAM of 3.2 GB, of which 128 MB lie above the hole below 4 GB."""
    machine = samples.build(profile=profile, ram_mb=3200, seed=5, cycles=1500, stale_pages=20)
    assert int(np.count_nonzero(machine.ram.touched[FOUR_GB:])) > 100, "the writer must use high frames"
    return machine


@pytest.mark.parametrize("profile", ["2003-sp2-x86-pae-mp", "vista-sp1-x64"])
def test_ram_above_four_gigabytes(profile: str, tmp_path: Path) -> None:
    machine = above_the_hole(profile)
    case = dumpscan.open(samples.write(machine, "kernel", tmp_path / "a.dmp"))
    check(case, machine.truth, "valid")
    assert int(case.kernel.memory.physical.runs().base_page[-1]) >= FOUR_GB


def test_ram_above_four_gigabytes_without_a_header(tmp_path: Path) -> None:
    machine = above_the_hole("xp-x64")
    case = dumpscan.open(samples.write(machine, "raw", tmp_path / "a.raw"))
    check_identity(case, machine.truth)
    assert tracker_of(case) == tracker_truth(machine.truth)
    assert case.verdict().verdict.code == machine.truth["expected"]["verdict"]
