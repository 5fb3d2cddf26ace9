"""A list of drivers that leaves the image says so: what was read is the least there are.

The sample's own truth names its modules.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import dumpscan
import samples
from dumpscan.case import Case
from dumpscan.model import Drivers, Module, Pool
from dumpscan.report.text import loaded
from dumpscan.verdict.observe import Observation
from tests.samples.walk import Walker

BASE = 0x804D7000
LIST_HEAD = 0x7CFC0  # RVA of PsLoadedModuleList, facts/kdbg.json
NOWHERE = 0xFDFDF000
FEW = (Module("ntoskrnl.exe", "0x804d7000", 4096),)


@pytest.fixture(scope="module")
def made() -> samples.Machine:
    return samples.build("xpsp3-x86-pae", "healthy", seed=3, ram_mb=32)


def cut(made: samples.Machine, folder: Path, entry: int | None) -> Case:
    """Entry ``entry`` of the list points out of the image; None: whole."""
    path = samples.write(made, "raw", folder / "sample.img")
    if entry is not None:
        data = bytearray(path.read_bytes())
        memory, va = Walker(bytes(data), "pae", made.dtb), BASE + LIST_HEAD
        for _ in range(entry):
            va = memory.number(va, 4)
        struct.pack_into("<I", data, memory.entry(va)[1], NOWHERE)
        path.write_bytes(data)
    return dumpscan.open(path)


def test_a_whole_list(made: samples.Machine, tmp_path: Path) -> None:
    drivers = cut(made, tmp_path, None).drivers
    assert len(drivers.loaded) == len(made.truth["modules"])
    assert drivers.loaded_complete is True


def test_a_list_cut_at_its_tenth_entry(made: samples.Machine, tmp_path: Path) -> None:
    drivers = cut(made, tmp_path, 10).drivers
    assert len(drivers.loaded) == 10
    assert drivers.loaded_complete is False


@pytest.mark.parametrize(
    ("drivers", "text"),
    [
        (Drivers(), "loaded drivers: unknown"),
        (Drivers(loaded=(), loaded_complete=False), "loaded drivers: unknown"),
        (Drivers(loaded=FEW, loaded_complete=False), "at least 1 loaded (the list leaves the image)"),
        (Drivers(loaded=FEW, loaded_complete=True), "1 loaded"),
        (Drivers(loaded=FEW), "1 loaded"),
    ],
)
def test_in_words(drivers: Drivers, text: str) -> None:
    assert loaded(drivers) == text


@pytest.mark.parametrize("profile", ["vista-sp1-x86", "xpsp3-x86-pae"])
def test_a_skipped_slot_does_not_hide_that_the_ring_was_full(profile: str, tmp_path: Path) -> None:
    made = samples.build(profile, "leak", seed=5, ram_mb=24, cycles=1500)
    known = made.truth["unloaded_drivers"]["entries"]
    assert len(known) < 50 and made.truth["unloads_skipped"], "the writer must have skipped a slot"
    found = dumpscan.open(samples.write(made, "kernel", tmp_path / "k.dmp")).drivers
    assert (found.ring_entries, found.ring_complete) == (len(known), False)
    assert found.unloads_total == made.truth["unloads_total"]


def test_a_ring_that_never_wrapped_is_complete(tmp_path: Path) -> None:
    made = samples.build("vista-sp1-x86", "healthy", seed=3, ram_mb=24, cycles=0)
    found = dumpscan.open(samples.write(made, "kernel", tmp_path / "k.dmp")).drivers
    assert found.ring_entries == found.unloads_total == made.truth["unloads_total"] > 5
    assert found.ring_complete is True


@pytest.mark.parametrize(("complete", "high"), [(True, 12), (None, 12), (False, None)])
def test_the_number_of_unloads_is_a_lower_bound_where_the_ring_has_gaps(
    complete: bool | None, high: int | None
) -> None:
    seen = Observation(Pool(), Drivers(ring_entries=12, ring_complete=complete))
    assert seen.unloads() == (12, high, 12)
