"""Machines from the sample writer with a leak of a few hundred cycles, and healthy ones with many unloads."""

from __future__ import annotations

from pathlib import Path

import pytest

import dumpscan
import samples
from dumpscan.case import Options, open_case
from dumpscan.kernel.modules import places
from dumpscan.model import Drivers, Verdict

PROFILES = ("xpsp3-x86", "xpsp2-x86-pae", "vista-sp1-x86-pae")


def written(folder: Path, container: str, profile: str, **options: object) -> Path:
    machine = samples.build(profile=profile, ram_mb=64, **options)  # type: ignore[arg-type]
    return samples.write(machine, container, folder / "machine.dmp")


def verdict(folder: Path, profile: str, **options: object) -> Verdict:
    return dumpscan.open(written(folder, "crash32-kernel", profile, **options)).verdict()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("cycles", "each"), [(200, 1), (300, 2), (400, 3), (500, 1), (200, 3), (400, 1)])
def test_a_leak_of_a_few_hundred_cycles_exhibits(
    profile: str, cycles: int, each: int, tmp_path: Path
) -> None:
    found = verdict(tmp_path, profile, cycles=cycles, pp_per_cycle=each)
    assert found.fix.state == "vulnerable"
    assert found.verdict.code == "exhibits", found.verdict.summary


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("scenario", "cycles"), [("healthy", 500), ("healthy", 6000), ("hotfixed", 500)])
def test_many_unloads_without_a_leak_do_not(profile: str, scenario: str, cycles: int, tmp_path: Path) -> None:
    found = verdict(tmp_path, profile, scenario=scenario, cycles=cycles)
    assert found.verdict.code == "does-not-exhibit", found.verdict.summary


def test_a_walk_of_all_pages_goes_by_the_counters_where_they_are_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "crash32-kernel", "xpsp3-x86", scenario="healthy", paged_out=0.6)
    found = open_case(path, Options(census="pages")).verdict()
    assert found.verdict.code == "does-not-exhibit"
    assert found.pool.coverage.paged_pages is not None and found.pool.coverage.paged_pages < 0.5
    assert {use.source for use in found.pool.tags if use.tag in ("IoSe", "Pp  ")} == {"tracker"}


def test_a_pool_full_of_large_allocations_that_no_table_lists_is_named(tmp_path: Path) -> None:
    leak = {"scenario": "other-tag", "other_size": 8000, "cycles": 1200, "fullness": 0.97}
    path = written(tmp_path, "crash32-full", "xpsp3-x86-pae", tagging=False, **leak)
    said = dumpscan.open(path).verdict().verdict
    assert "large allocations without a tag hold" in said.summary and "97 % full" in said.summary
    assert "another cause" not in said.advice


def test_a_refused_count_of_unloads_is_no_place_to_cite(tmp_path: Path) -> None:
    kernel = dumpscan.open(written(tmp_path, "crash32-kernel", "xpsp3-x86", cycles=200)).kernel
    assert places(kernel, Drivers(unloads_total=210))["unloads"].startswith("MiTotalUnloads at 0x")
    assert "unloads" not in places(kernel, Drivers())
