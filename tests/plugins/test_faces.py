"""The plugins' rows against the truth of the acceptance images, without any symbol table."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import image, truth
from tests.plugins.volatility import PLUGINS, ROOT, Row, Volatility

POOLS = (("np", "nonpaged"), ("paged", "paged"))


def _counters(rows: list[Row]) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(r["Tag"], r["Pool"]): (r["Allocs"], r["Frees"], r["Bytes"]) for r in rows}


@pytest.mark.parametrize("name", ["a01", "a04"])
def test_pooltracker(vol: Volatility, name: str) -> None:
    rows = vol.rows(image(name), "dumpscan.pooltracker")
    expected = {
        (tag, pool): tuple(entry[f"{short}_{what}"] for what in ("allocs", "frees", "bytes"))
        for tag, entry in truth(name)["tracker"].items()
        for short, pool in POOLS
    }
    assert _counters(rows) == {key: counts for key, counts in expected.items() if any(counts)}
    assert all(row["Outstanding"] == row["Allocs"] - row["Frees"] for row in rows)


def test_pooltracker_says_that_tagging_is_off(vol: Volatility) -> None:
    done = vol.run(image("a02"), "dumpscan.pooltracker")
    assert done.stdout.strip() == "[]"
    assert "tagging is off" in done.stderr


def _walked(name: str, states: tuple[str, ...]) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for pool, tags in truth(name)["small_blocks"].items():
        for tag, by_state in tags.items():
            count = sum(by_state[state]["allocs"] for state in states)
            octets = sum(by_state[state]["bytes"] for state in states)
            if count:
                found[tag, pool] = (count, octets)
    return found


# Kernel dumps hold valid pages only, complete ones transition pages too (images/README.md).
@pytest.mark.parametrize(("name", "states"), [("a01", ("valid",)), ("a02", ("valid", "transition"))])
def test_poolpages_by_tag(vol: Volatility, name: str, states: tuple[str, ...]) -> None:
    rows = vol.rows(image(name), "dumpscan.poolpages")
    found = {(row["Tag"], row["Pool"]): (row["Allocations"], row["Bytes"]) for row in rows}
    assert found == _walked(name, states)


def test_poolpages_by_allocation(vol: Volatility) -> None:
    words = ("--allocations", "--tags", "IoSe", "Pp", "--pool", "paged")
    rows = vol.rows(image("a01"), "dumpscan.poolpages", *words)
    expected = _walked("a01", ("valid",))
    for tag in ("IoSe", "Pp  "):
        sizes = [row["Bytes"] for row in rows if row["Tag"] == tag]
        assert (len(sizes), sum(sizes)) == expected[tag, "paged"]
    assert {row["Tag"] for row in rows} == {"IoSe", "Pp  "}
    assert len({row["Address"] for row in rows}) == len(rows)
    paged = truth("a01")["pools"]["paged"]
    assert all(int(paged["start"], 16) <= row["Address"] <= int(paged["end"], 16) for row in rows)


@pytest.mark.parametrize("name", ["a01", "a04"])
def test_bigpools(vol: Volatility, name: str) -> None:
    rows = vol.rows(image(name), "dumpscan.bigpools", "--show-free")
    table = truth(name)["big_table"]
    live = {
        (row["Allocation"], row["Tag"], row["Pool"], row["Bytes"])
        for row in rows
        if row["Status"] == "Allocated"
    }
    assert live == {(int(e["va"], 16), e["tag"], e["pool"], e["bytes"]) for e in table["entries"]}
    assert len(rows) == table["live"] + table["freed_entries"]


def test_kernelbuild(vol: Volatility) -> None:
    found = vol.values(image("a04"), "dumpscan.kernelbuild")
    kernel = truth("a04")["kernel"]
    assert found["Version"] == kernel["file_version"]
    assert found["Kernel base"] == kernel["base"]
    assert found["Build lab"] == kernel["build_lab"]
    assert found["PDB GUID"] == kernel["guid"]
    assert found["Time stamp"] == kernel["timestamp"]
    assert (found["Service pack"], found["Processors"]) == ("1", "2")
    assert found["Bug check"].startswith("0xe2 ")


@pytest.mark.parametrize("name", ["a01", "a05"])
def test_kb950162(vol: Volatility, name: str) -> None:
    rows = vol.rows(image(name), "dumpscan.kb950162")
    by_item: dict[str, Any] = {row["Item"]: row for row in reversed(rows)}
    assert by_item["verdict"]["State"] == truth(name)["expected"]["verdict"]
    assert by_item["fix"]["State"] == truth(name)["expected"]["fix"]
    evidence = [row["Item"] for row in by_item["signature"]["__children"]]
    assert len(evidence) > 3 and set(evidence) == {"evidence"}


@pytest.mark.parametrize("render", ["csv", "jsonl", "pretty", "quick"])
def test_renderers_print_rows_only(vol: Volatility, xp_kernel_dump: Path, render: str) -> None:
    done = vol.run(xp_kernel_dump, "dumpscan.pooltracker", "--tags", "IoSe", "Pp  ", render=render)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("Volatility 3")]
    header = 0 if render == "jsonl" else 1
    assert len([line for line in lines if "IoSe" in line or "Pp  " in line]) == len(lines) - header >= 2
    if render == "csv":
        tags = {row["Tag"] for row in csv.DictReader(io.StringIO(done.stdout))}
        assert tags == {"IoSe", "Pp  "}


def test_works_from_an_installed_wheel(vol: Volatility, xp_kernel_dump: Path, tmp_path: Path) -> None:
    """The layout that hatch_build.py makes: the folder inside the package, no checkout around it."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "dumpscan", tmp_path / "dumpscan", ignore=ignore)
    folder = tmp_path / "dumpscan" / "_plugins"
    shutil.copytree(PLUGINS, folder, ignore=ignore)
    where = "import atexit; atexit.register(lambda: print(sys.modules['dumpscan'].__file__, file=sys.stderr))"
    done = vol.run(xp_kernel_dump, "dumpscan.kernelbuild", plugins=folder, prelude=where)
    assert "2600.xpsp.080413-2111" in done.stdout
    assert done.stderr.splitlines()[-1] == str(tmp_path / "dumpscan" / "__init__.py")


def test_says_that_the_package_is_missing(vol: Volatility, xp_kernel_dump: Path, tmp_path: Path) -> None:
    """In the log when the dump needs our layer, else by the plugin, which volatility3 then reports."""
    folder = tmp_path / "plugins"
    shutil.copytree(PLUGINS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    hide = "sys.modules['dumpscan'] = None"
    done = vol.run(xp_kernel_dump, "dumpscan.kernelbuild", plugins=folder, prelude=hide)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.count("install dumpscan") == 1
    ask = f"import sys; {hide}\n{_REQUIRE}"
    said = subprocess.run(
        [sys.executable, "-c", ask, str(folder)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "MissingModuleException" in said.stdout and "install dumpscan" in said.stdout


_REQUIRE = """
import volatility3.plugins
volatility3.plugins.__path__ = [sys.argv[1], *volatility3.plugins.__path__]
from volatility3.plugins.dumpscan.core import require_package
try:
    require_package()
except Exception as error:
    print(type(error).__name__, error)
"""
