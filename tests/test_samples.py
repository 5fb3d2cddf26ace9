"""Every kernel in every container that samples/ writes, against the writer's own truth.

The writer restates all formats and keeps its own books while it places blocks; nothing here comes
from reading an image back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dumpscan
import samples
from dumpscan.case import Case
from dumpscan.model import PoolUse

RAM_MB = 24
FORMATS = {
    "elf64": "elf",
    "elf64-many": "elf",
    "elf32": "elf",
    "virtualbox": "elf",
    "vmem": "vmware",
    "vmware-snapshot": "vmware",
    "vmware-inline": "vmware",
    "libvirt-gzip": "libvirt",
    "hpak-packed": "hpak",
}
"""The writer's name of a container where dumpscan's differs."""
PAGING = ("xpsp2-x86", "xpsp3-x86-pae", "vista-sp1-x64")
MACHINES = ("avml", "elf64-many", "vmware-", "virtualbox", "xen", "qemu", "libvirt", "hpak")
"""Containers (how their names begin) of virtual machines, which know nothing of the Windows inside: one
profile of each paging mode goes into them."""


class Sample:
    """One machine; its images are written when asked for."""

    def __init__(self, profile: str, folder: Path, **options: Any) -> None:
        self.machine = samples.build(profile=profile, ram_mb=RAM_MB, seed=5, **options)
        self.truth: dict[str, Any] = self.machine.truth
        self.folder = folder

    def open(self, container: str) -> Case:
        suffix = "vmem" if container.startswith("vm") else "img"
        return dumpscan.open(samples.write(self.machine, container, self.folder / f"{container}.{suffix}"))


# Kernels after the article's have a test of their own: most need symbols.
COVERED = sorted(name for name, profile in samples.PROFILES.items() if profile.build < 7600)


@pytest.fixture(scope="module", params=COVERED)
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(request.param, tmp_path_factory.mktemp(request.param), scenario="leak", cycles=1500)


def containers() -> list[str]:
    """Those that hold memory; small dumps: tests/test_small_dumps.py."""
    return sorted(name for name in samples.CONTAINERS if not name.startswith("triage"))


def tracker_of(case: Case) -> dict[str, tuple[int, ...]]:
    return {
        row.tag: (
            row.nonpaged.allocs or 0,
            row.nonpaged.frees or 0,
            row.nonpaged.bytes,
            row.paged.allocs or 0,
            row.paged.frees or 0,
            row.paged.bytes,
        )
        for row in case.pools("tracker").tags
    }


def tracker_truth(truth: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    order = ("np_allocs", "np_frees", "np_bytes", "paged_allocs", "paged_frees", "paged_bytes")
    return {tag: tuple(row[key] for key in order) for tag, row in truth["tracker"].items()}


def walked(case: Case) -> dict[tuple[str, str], tuple[int, int]]:
    found = {}
    for row in case.pools("pages").tags:
        for pool in ("paged", "nonpaged"):
            use: PoolUse = getattr(row, pool)
            if use.outstanding:
                found[row.tag, pool] = (use.outstanding, use.bytes)
    return found


def blocks_truth(truth: dict[str, Any], *states: str) -> dict[tuple[str, str], tuple[int, int]]:
    found = {}
    for pool, tags in truth["small_blocks"].items():
        for tag, by_state in tags.items():
            count = sum(by_state[state]["allocs"] for state in states)
            if count:
                found[tag, pool] = (count, sum(by_state[state]["bytes"] for state in states))
    for pool, tags in truth["quota_blocks_without_tag"].items():
        rows = [by_state[state] for by_state in tags.values() for state in states]
        if sum(row["allocs"] for row in rows):
            found["?quo", pool] = (sum(row["allocs"] for row in rows), sum(row["bytes"] for row in rows))
    return found


def check_identity(case: Case, truth: dict[str, Any]) -> None:
    info, kernel = case.kernel.info, truth["kernel"]
    assert (info.version, info.build_lab) == (kernel["file_version"], kernel["build_lab"])
    assert (info.service_pack, info.arch, info.pae) == (
        kernel["service_pack"],
        kernel["machine"],
        kernel["pae"],
    )
    assert (info.base, info.timestamp) == (kernel["base"], int(kernel["timestamp"], 16))
    assert info.pdb is not None and info.pdb.guid == kernel["guid"]
    assert info.branch == kernel["branch_word"]
    assert info.kdbg == truth["addresses"]["KdDebuggerDataBlock"]
    assert info.dtb == truth["addresses"]["dtb"]
    assert case.kernel.machine.processors == kernel["cpus"]
    assert ("Server" in (info.product or "")) == (kernel["product"] == "server")


@pytest.mark.parametrize("container", containers())
def test_figures(sample: Sample, container: str) -> None:
    """Identity, tracker, walk and verdict of one machine in one container."""
    if not samples.fits(sample.machine, container):
        pytest.skip(f"{container} does not hold such a machine")
    if container.startswith(MACHINES) and sample.machine.options.profile not in PAGING:
        pytest.skip("machines of virtualisers hold one profile of each paging mode")
    if container == "avml":
        pytest.importorskip("cramjam", reason="dumpscan[avml] is not installed")
    if container == "raw" and "ia64" in sample.machine.options.profile:
        pytest.skip("raw images of Itanium are refused by name: tests/pool/test_ia64.py")
    case = sample.open(container)
    assert case.info.format == FORMATS.get(container, container)
    assert not case.info.truncated
    check_identity(case, sample.truth)
    assert tracker_of(case) == tracker_truth(sample.truth)
    partial = container.endswith(("-kernel", "-active"))
    assert walked(case) == blocks_truth(sample.truth, "valid", *(() if partial else ("transition",)))
    result = case.verdict()
    assert result.verdict.code == sample.truth["expected"]["verdict"]
    assert result.fix.state == sample.truth["expected"]["fix"]


SCENARIOS = [
    ("xpsp3-x86-pae", "leak", {}),
    ("xpsp3-x86-pae", "healthy", {}),
    ("xpsp3-x86-pae-mp", "other-tag", {"cycles": 8000, "processors": 2}),
    ("xpsp3-x86", "only-iose", {}),
    ("xpsp2-x86-pae", "only-pp", {}),
    ("xpsp3-x86-pae", "early", {"cycles": 300}),
    ("xpsp3-x86-pae", "hotfixed", {}),
    ("xpsp3-x86-pae", "unexpected", {}),
    ("xpsp3-x86-pae", "no-tagging", {}),
    ("xpsp2-x86", "no-tagging", {}),
    ("vista-sp1-x64", "leak", {"processors": 2}),
    ("vista-rtm-x64", "healthy", {"processors": 4}),
    ("vista-sp1-x86-pae", "hotfixed", {"processors": 2}),
    ("vista-rtm-x86", "unexpected", {}),
    ("2008-x64", "only-pp", {"processors": 2}),
    ("2008-ia64", "healthy", {"processors": 2}),
    ("2008-ia64", "hotfixed", {"processors": 4}),
    ("2008-ia64", "unexpected", {}),
    ("2003-sp2-x86-pae-mp", "other-tag", {"cycles": 8000, "processors": 2}),
]


@pytest.mark.parametrize(("profile", "scenario", "options"), SCENARIOS, ids=lambda value: str(value)[:40])
def test_scenarios(profile: str, scenario: str, options: dict[str, Any], tmp_path: Path) -> None:
    sample = Sample(profile, tmp_path, scenario=scenario, **{"cycles": 2500, **options})
    case = sample.open("kernel")
    result = case.verdict()
    assert result.verdict.code == sample.truth["expected"]["verdict"], result.verdict
    assert result.fix.state == sample.truth["expected"]["fix"], result.fix
    if sample.truth["tagging"]:
        assert tracker_of(case) == tracker_truth(sample.truth)
    assert walked(case) == blocks_truth(sample.truth, "valid")
    if scenario == "other-tag":
        assert result.suspects[0].tag == sample.machine.options.other_tag


def test_total_unloads_are_read_where_the_kernel_keeps_them(tmp_path: Path) -> None:
    sample = Sample("xpsp3-x86-pae", tmp_path, scenario="leak", cycles=1500)
    assert sample.open("raw").drivers.unloads_total == sample.truth["unloads_total"]


@pytest.mark.parametrize("resource", ["absent", "torn"])
def test_version_without_a_sound_resource(resource: str, tmp_path: Path) -> None:
    """The released kernel is known by its PDB GUID; a torn resource must not make it another one."""
    sample = Sample("xpsp3-x86-pae", tmp_path, scenario="leak", cycles=1500, version_resource=resource)
    result = sample.open("full").verdict()
    assert result.kernel.version == sample.truth["kernel"]["file_version"]
    assert result.fix.state == sample.truth["expected"]["fix"]


def test_overflowing_tags(tmp_path: Path) -> None:
    sample = Sample("vista-sp1-x86-pae", tmp_path, scenario="leak", cycles=1500, overflow="ovfl")
    pool = sample.open("full").census()
    assert sample.truth["tracker_overflow_tags"], "the writer must have spilt tags"
    assert pool.overflow is not None
    assert pool.overflow.paged.bytes == sample.truth["tracker_ovfl_entry"]["paged_bytes"]
    assert pool.overflow.nonpaged.bytes == sample.truth["tracker_ovfl_entry"]["np_bytes"]
