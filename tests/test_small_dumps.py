"""Small dumps of every machine that samples/ writes: what they can carry equals the writer's books."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import dumpscan
import samples
from dumpscan.model import Verdict
from tests.acceptance import image
from tests.cli.run import run


def small_dump(
    folder: Path, profile: str, scenario: str = "leak", **options: Any
) -> tuple[Path, dict[str, Any]]:
    machine = samples.build(profile=profile, scenario=scenario, ram_mb=32, seed=5, **options)
    return samples.write(machine, "triage", folder / "mini.dmp"), machine.truth


def listed(truth: dict[str, Any]) -> list[str]:
    """What the kernel writes of the ring: from the newest entry back to the first that is skipped."""
    ring = truth["unloaded_drivers"]
    names = {entry["slot"]: entry["name"] for entry in ring["entries"]}
    order = [names.get((ring["last_index"] - 1 - back) % 50) for back in range(50)]
    return [name for name in order[: order.index(None) if None in order else 50] if name]


def verdict(path: Path) -> Verdict:
    return dumpscan.open(path).verdict()


PROFILES = """xpsp3-x86-pae xpsp2-x86-mp 2003-sp2-x86-pae vista-rtm-x86-pae vista-sp1-x64 2008-x64 xp-x64
2008-ia64 win7-sp1-x64""".split()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_small_dump_carries_identity_drivers_and_totals(profile: str, tmp_path: Path) -> None:
    path, truth = small_dump(tmp_path, profile, cycles=1500, debugger="plain")
    found, kernel = verdict(path), truth["kernel"]
    assert found.image.format == f"triage{32 if kernel['machine'] == 'x86' else 64}"
    assert not found.image.truncated and not found.image.notes
    experimental = kernel["machine"] == "ia64"
    assert ["experimental" in note for note in found.kernel.notes] == [True] * experimental
    assert (found.kernel.build_lab, found.kernel.branch) == (kernel["build_lab"], kernel["branch_word"])
    assert (found.kernel.arch, found.kernel.service_pack) == (kernel["machine"], kernel["service_pack"])
    assert (found.kernel.base, found.kernel.image_name) == (kernel["base"], kernel["file"])
    assert found.kernel.timestamp == int(kernel["timestamp"], 16)
    assert found.machine.bugcheck is not None and found.machine.bugcheck.code == 0xE2
    gone = listed(truth)
    assert {each.name: each.count for each in found.drivers.recent} == Counter(gone)
    assert found.drivers.ring_entries == len(gone) > 10
    modules = [(each["base"], each["size"]) for each in truth["modules"]]
    assert [(each.base, each.size) for each in found.drivers.loaded] == modules
    names = [each["name"] for each in truth["modules"][1:]]
    assert [each.name for each in found.drivers.loaded[1:]] == names
    # The writer dates each driver an hour before the one that was loaded before it.
    stamps = [found.kernel.timestamp - 3600 * number for number in range(len(modules))]
    assert [each.timestamp for each in found.drivers.loaded] == stamps
    for pool in ("paged", "nonpaged"):
        limits, written = getattr(found.pool, pool), truth["pools"][pool]
        assert limits.used_bytes == written["pages_in_use"] * found.image.page_size
        assert limits.limit_bytes == written["limit_bytes"]
    assert found.fix.state == truth["expected"]["fix"]
    assert found.verdict.code == "inconclusive"


@pytest.mark.parametrize("container", ["triage32", "triage64"])
def test_the_wrong_width_is_refused_by_the_writer(container: str, tmp_path: Path) -> None:
    machine = samples.build(
        profile="vista-sp1-x64" if container == "triage32" else "xpsp3-x86", ram_mb=24, cycles=10
    )
    with pytest.raises(ValueError, match="does not hold"):
        samples.write(machine, container, tmp_path / "x.dmp")


def test_a_vulnerable_kernel_with_a_driver_that_comes_and_goes(tmp_path: Path) -> None:
    path, truth = small_dump(tmp_path, "xpsp3-x86-pae", cycles=1500, fullness=0.98)
    found = verdict(path)
    gone = listed(truth)
    times = gone.count("hwmon32.sys")
    assert f"hwmon32.sys is {times} of the last {len(gone)} unloaded drivers" in found.verdict.summary
    assert "paged pool is 98 % full" in found.verdict.summary
    assert "the kernel lacks the fix" in found.verdict.summary
    assert "kernel memory dump" in found.verdict.advice and "PoolMon" in found.verdict.advice
    assert "If the leak is there: Install hotfix KB950162" in found.verdict.advice
    # One processor: the kernel may be the multiprocessor one all the same, so no file is named.
    assert found.fix.row is None and found.kernel.pae is True
    assert "could not be told (unknown: uniprocessor or multiprocessor)." in found.verdict.advice
    evidence = {each.id: each for each in found.signature.evidence}
    again = evidence["one-driver-again-and-again"]
    assert (again.outcome, again.value) == ("supports", round(times / len(gone), 4))
    assert again.where.startswith("unloaded drivers at file offset 0x")
    assert evidence["unloads"].outcome == "unknown" and evidence["unloads"].value == len(gone)
    assert evidence["iose-early"].outcome == "unknown"


def test_two_processors_name_the_file_of_the_article(tmp_path: Path) -> None:
    path, _ = small_dump(tmp_path, "xpsp3-x86-pae-mp", cycles=1500, processors=2)
    row = verdict(path).fix.row
    assert row is not None and row.file == "Ntkrpamp.exe"


def test_a_fixed_kernel_says_so_first(tmp_path: Path) -> None:
    path, _ = small_dump(tmp_path, "vista-sp1-x64", "hotfixed", cycles=1500)
    found = verdict(path)
    assert (found.fix.state, found.verdict.code) == ("fixed", "inconclusive")
    assert found.kernel.version == "6.0.6001.22137"
    assert found.verdict.summary.endswith("the kernel has the fix")
    assert found.verdict.advice.startswith("The kernel should not leak this way")
    assert "Install" not in found.verdict.advice


def test_a_kernel_that_the_article_does_not_cover(tmp_path: Path) -> None:
    found = verdict(small_dump(tmp_path, "2003-sp2-x86", cycles=1500)[0])
    assert (found.fix.state, found.verdict.code) == ("out-of-scope", "inconclusive")
    assert "KB950162 has nothing to install here" in found.verdict.advice


def test_a_quiet_machine_has_no_clue(tmp_path: Path) -> None:
    found = verdict(small_dump(tmp_path, "xpsp3-x86-pae", "healthy", cycles=0)[0])
    assert "of the last" not in found.verdict.summary
    assert "shows no driver that comes and goes" in found.verdict.advice
    assert "no reason to install it" in found.verdict.advice


def test_an_unknown_branch_leaves_the_fix_state_unknown(tmp_path: Path) -> None:
    """No NtBuildLab, and a time stamp of no released kernel."""
    found = verdict(small_dump(tmp_path, "xpsp3-x86-pae", cycles=1500, version="5657", branch="unknown")[0])
    assert (found.kernel.version, found.kernel.build_lab, found.kernel.branch) == (None, None, "unknown")
    assert found.kernel.service_pack == 3
    assert (found.fix.state, found.verdict.code) == ("unknown", "inconclusive")
    assert "First find out the kernel's file version and branch" in found.verdict.advice


def test_names_are_cut_to_twelve_characters(tmp_path: Path) -> None:
    path, truth = small_dump(tmp_path, "xpsp3-x86-pae", cycles=1500, driver="averylongname32.sys")
    found = verdict(path)
    assert found.drivers.recent[0].name == "averylongnam"
    assert found.drivers.recent[0].count == listed(truth).count("averylongname32.sys")
    assert found.image.notes[0].endswith("12 characters: averylongnam")


@pytest.mark.parametrize("command", ["pools", "allocations", "attribute"])
def test_commands_that_need_pool_say_what_is_missing(command: str) -> None:
    result = run(command, image("triage_x64"))
    assert result.exit_code == 6
    assert "neither page tables nor pool" in result.output and result.output.count("\n") == 1


def test_every_report_renders(tmp_path: Path) -> None:
    path, truth = small_dump(tmp_path, "xpsp3-x86-pae", cycles=1500)
    gone = listed(truth)
    times = gone.count("hwmon32.sys")
    for form, expected in (
        ("text", f"hwmon32.sys x\n          {times}"),
        ("html", f"{times} of the last {len(gone)} unloads"),
        ("json", '"format": "triage32"'),
    ):
        result = run("verdict", "--format", form, "--exit-code", path)
        assert result.exit_code == 12
        assert expected in result.stdout
    info = run("info", path).stdout
    assert "memory figures in pages" in info and "time stamp 0x4802516a" in info


def test_a_batch_takes_small_dumps(tmp_path: Path) -> None:
    path, truth = small_dump(tmp_path, "xpsp3-x86-pae", cycles=1500)
    store = tmp_path / "store.sqlite"
    assert run("batch", path, "--store", store).exit_code == 0
    (row,) = json.loads(run("report", store, "--format", "json").stdout)["images"]
    assert (row["status"], row["result"]["verdict"]["code"]) == ("ok", "inconclusive")
    assert row["result"]["pool"]["paged"]["used_bytes"] == truth["pools"]["paged"]["pages_in_use"] * 4096
    assert run("report", store, "--format", "html", "-o", tmp_path / "dash.html").exit_code == 0


def test_a_small_dump_beside_a_kernel_dump_of_the_same_boot(tmp_path: Path) -> None:
    """What both have is compared: totals. The small one's missing tags are no second way of counting."""
    common: dict[str, Any] = {
        "scenario": "leak",
        "ram_mb": 24,
        "seed": 5,
        "boot_time": 1211900000.0,
        "fullness": 0.9,
    }
    early = samples.build("xpsp3-x86-pae", cycles=500, uptime=3600.0, **common)
    late = samples.build("xpsp3-x86-pae", cycles=1500, uptime=10800.0, **common)
    paths = (
        samples.write(early, "kernel", tmp_path / "k.dmp"),
        samples.write(late, "triage", tmp_path / "s.dmp"),
    )
    text = run("compare", *paths).stdout
    assert "compared by its totals only" in " ".join(text.split())
    assert "walking pages" not in text
    document = json.loads(run("compare", "--format", "json", *paths).stdout)
    used = [machine.truth["pools"]["paged"]["pages_in_use"] * 4096 for machine in (early, late)]
    assert [point["used_bytes"] for point in document["pool"]["paged"]["points"]] == used
