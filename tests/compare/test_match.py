"""Same machine, same boot: yes, no or unknown, with reasons."""

from __future__ import annotations

from typing import Any

import pytest

from dumpscan.compare.build import compare
from dumpscan.compare.match import same
from dumpscan.model import Machine, Module, Pdb, Verdict
from dumpscan.records import replace
from tests.compare.test_growth import LOADED, point


def changed(verdict: Verdict, part: str, **changes: Any) -> Verdict:
    return replace(verdict, **{part: replace(getattr(verdict, part), **changes)})


A, B = point(2, 100, 200, unloads=50), point(6, 300, 600, unloads=250)


def test_images_of_one_boot() -> None:
    machine, boot, reasons = same([A, B])
    assert (machine, boot) == (True, True)
    assert {reason.outcome for reason in reasons} == {"yes"}
    assert {r.about for r in reasons} >= {
        "boot time",
        "kernel",
        "kernel base",
        "loaded drivers",
        "processors",
    }


def test_a_clock_that_was_set_a_little_is_still_the_same_boot() -> None:
    assert same([A, changed(B, "machine", system_time="2008-05-28T06:01:30Z")])[:2] == (True, True)


def test_a_restart_is_another_boot_of_the_same_machine() -> None:
    machine, boot, reasons = same([A, changed(B, "machine", uptime_seconds=600.0)])
    assert (machine, boot) == (True, False)
    assert ("boot time", "no") in {(reason.about, reason.outcome) for reason in reasons}


@pytest.mark.parametrize(
    ("part", "change", "about"),
    [
        ("kernel", {"pdb": Pdb("ntkrnlpa.pdb", "FFFF", 1)}, "kernel PDB"),
        ("kernel", {"version": "5.1.2600.5586"}, "kernel version"),
        ("kernel", {"base": "0x804d8000"}, "kernel base"),
        ("drivers", {"unloads_total": 10}, "driver unloads"),
    ],
)
def test_what_cannot_change_within_a_boot(part: str, change: dict[str, Any], about: str) -> None:
    _, boot, reasons = same([A, changed(B, part, **change)])
    assert boot is False
    assert about in {reason.about for reason in reasons if reason.outcome == "no"}


def test_counters_of_allocations_do_not_go_back() -> None:
    _, boot, reasons = same([A, point(6, 50, 600, unloads=250)])
    assert boot is False
    assert [r.text for r in reasons if r.about == "allocation counters"] == [
        "'IoSe' had 200 allocations since boot, later 150"
    ]


def test_other_drivers_are_another_machine() -> None:
    others = tuple(Module(f"other{i}.sys", "0xf7000000", 4096) for i in range(20))
    later = changed(changed(B, "machine", uptime_seconds=60.0), "drivers", loaded=(*LOADED[:5], *others))
    assert same([A, later])[:2] == (False, False)


def test_without_times_the_boot_is_unknown_and_the_machine_is_told_by_the_rest() -> None:
    unknown = replace(B, machine=Machine(None, None, None, 1))
    assert same([A, unknown])[:2] == (True, None)
    elsewhere = changed(unknown, "kernel", dtb="0x320000")
    assert same([A, elsewhere])[:2] == (None, None)


def test_one_restart_among_three_images_is_enough() -> None:
    assert same([A, B, changed(point(8, 400, 800, unloads=300), "machine", uptime_seconds=60.0)])[1] is False


def test_after_a_restart_levels_are_compared_and_rates_are_not() -> None:
    found = compare([A, changed(B, "machine", uptime_seconds=600.0)])
    assert (found.comparable, found.hours, found.unloads) == ("levels", None, None)
    assert {row.outstanding_per_hour for row in found.tags} == {None}
    assert found.pool.paged.full_at is None
    assert found.pool.paged.text == "no rate: not images of one boot"
    assert "restarted" in found.notes[0]
    assert found.verdict.summary.endswith("not of one boot: no growth can be judged")
