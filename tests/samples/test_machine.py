"""Kernel, drivers, processes, options, determinism."""

from __future__ import annotations

import ast
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import samples
from samples import PROFILES, SCENARIOS, Machine, build, write
from samples.__main__ import main
from samples.contents import default_dacl, pp_contents
from samples.demo import write_demo

from .conftest import machine
from .walk import Walker

Raw = Callable[[Machine], Walker]


def test_imports_nothing_from_the_readers() -> None:
    for path in Path(samples.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module or "")
            for name in names:
                assert name.split(".")[0] not in ("dumpscan", "plugins", "samples", "volatility3"), path


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        made = build(seed=4, ram_mb=16, cycles=300)
        path = write(made, "kernel", tmp_path / f"{number}.dmp", truth=True)
        truth = Path(f"{path}.truth.json").read_text(encoding="utf-8").replace(f"{number}.dmp", "x")
        digests.add(hashlib.sha256(path.read_bytes() + truth.encode()).hexdigest())
    assert len(digests) == 1
    assert bytes(build(seed=5, ram_mb=16, cycles=300).ram.data) != bytes(made.ram.data)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_kernel_can_be_found(profile: str, raw: Raw) -> None:
    made = build(profile, seed=2, ram_mb=16, cycles=100, debugger="plain")
    walker, truth = raw(made), made.truth
    base, block = int(truth["kernel"]["base"], 16), int(truth["addresses"]["KdDebuggerDataBlock"], 16)
    assert walker.read(base, 2) == b"MZ" and walker.read(block + 0x10, 4) == b"KDBG"
    assert walker.number(block + 0x18, 8) == base
    kuser = int(truth["addresses"]["kuser"], 16)
    if "ia64" not in profile:  # where user space has a root of its own
        assert walker.entry(kuser) == walker.entry(0x7FFE0000)
    lab = walker.read(walker.number(block + 0x208, 8), 64).split(b"\0")[0].decode()
    assert lab == truth["kernel"]["build_lab"]
    pointer = 8 if profile.endswith("64") else 4
    names, head = [], walker.number(block + 0x48, 8)
    entry = walker.number(head, pointer)
    while entry != head:
        at = entry + (0x2C if pointer == 4 else 0x58)
        length, buffer = walker.number(at, 2), walker.number(at + pointer, pointer)
        names.append(walker.read(buffer, length).decode("utf-16-le"))
        entry = walker.number(entry, pointer)
    assert names == [module["name"] for module in truth["modules"]]


def test_unloaded_drivers_wrap_around(raw: Raw) -> None:
    made = machine()
    walker, truth = raw(made), made.truth["unloaded_drivers"]
    variables = 0x804D7000 + 0x7D030
    skipped, total, index, array = struct.unpack("<4I", walker.read(variables, 16))
    assert (skipped, total, index) == (
        made.truth["unloads_skipped"],
        made.truth["unloads_total"],
        truth["last_index"],
    )
    names = {}
    for slot in range(50):
        length, buffer = struct.unpack("<H2xI", walker.read(array + 0x18 * slot, 8))
        if buffer:
            names[slot] = walker.read(buffer, length).decode("utf-16-le")
    assert names == {entry["slot"]: entry["name"] for entry in truth["entries"]}
    assert sum(name == "hwmon32.sys" for name in names.values()) > 35
    times = {entry["slot"]: entry["time"] for entry in truth["entries"]}
    newest = (index - 1) % 50
    assert newest not in times or times[newest] == max(times.values())


def test_pae_pointer_table_off_the_page_start(raw: Raw) -> None:
    made = machine(dtb_offset=0x1A0)
    assert made.dtb % 0x1000 == 0x1A0
    walker = raw(made)
    assert walker.read(0x804D7000, 2) == b"MZ"
    directories = struct.unpack("<4Q", walker.data[made.dtb : made.dtb + 32])
    own = struct.unpack("<4Q", walker.read(0xC0603000, 32))
    assert [value >> 12 for value in own] == [value >> 12 for value in directories]


def test_leaked_contents() -> None:
    dacl = default_dacl()
    assert len(dacl) == 108 and dacl[:8] == struct.pack("<BBHHH", 2, 0, 108, 5, 0)
    path, instance = pp_contents("hwmon32.sys", 2)
    assert path.decode("utf-16-le") == "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\hwmon32"
    assert instance.decode("utf-16-le") == "ROOT\\HWMON32\\0000"
    data = bytes(machine().ram.data)
    valid = machine().truth["small_blocks"]["paged"]["IoSe"]["valid"]["allocs"]
    assert data.count(dacl) >= valid - 30


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenarios(scenario: str) -> None:
    truth = machine(scenario=scenario, cycles=None).truth
    iose, pp = truth["expect"]["IoSe_live"][0], truth["expect"]["Pp_live"][0]
    assert truth["expect"]["iose_leaks"] == (iose > 150) and truth["expect"]["pp_leaks"] == (pp > 350)
    verdict = {"hotfixed": "does-not-exhibit", "unexpected": "unexpected"}.get(scenario)
    leaks = scenario in ("leak", "early", "no-tagging")
    assert truth["expected"]["verdict"] == (verdict or ("exhibits" if leaks else "does-not-exhibit"))
    assert truth["expected"]["fix"] == ("fixed" if scenario in ("hotfixed", "unexpected") else "vulnerable")


def test_fullness_is_reached() -> None:
    assert machine(fullness=0.97).truth["pools"]["paged"]["used_fraction"] == pytest.approx(0.97, abs=0.01)


def test_a_series_of_one_boot() -> None:
    first = machine(boot_time=1.2e9, uptime=3600.0, cycles=500).truth["time"]
    later = machine(boot_time=1.2e9, uptime=7200.0, cycles=900).truth["time"]
    assert (
        later["system_time"] - first["system_time"]
        == later["uptime_100ns"] - first["uptime_100ns"]
        == 36_000_000_000
    )


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"profile": "nt4"}, "unknown profile"),
        ({"ram_mb": 8}, "at least 16 MB"),
        ({"processors": 2}, "do not fit"),
        ({"profile": "vista-sp1-x64", "tagging": False}, "on XP only"),
        ({"overflow": "expansion"}, "no expansion table"),
        ({"version": "6.0.6001.18000"}, "does not belong"),
        ({"pool_mb": 800, "ram_mb": 64}, "do not fit"),
    ],
)  # fmt: skip
def test_what_cannot_be_built(parameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build(**parameters)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.dmp"
    assert (
        main(["--ram-mb", "16", "--cycles", "50", "--version", "5755", "--branch", "qfe", "-o", str(path)])
        == 0
    )
    truth = json.loads(Path(f"{path}.truth.json").read_text(encoding="utf-8"))
    assert truth["kernel"]["branch_word"] == "qfe" and truth["files"][0]["bytes"] == path.stat().st_size
    assert main(["--list"]) == 0 and "vista-sp1-x64" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--ram-mb", "16"])


def test_demo(tmp_path: Path) -> None:
    paths = write_demo(tmp_path)
    assert [path.name for path in paths] == ["hung-xpsp3.dmp", "healthy-xpsp3.dmp"]
    truth = json.loads(Path(f"{paths[0]}.truth.json").read_text(encoding="utf-8"))
    assert truth["pools"]["paged"]["used_fraction"] > 0.96
