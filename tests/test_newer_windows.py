"""Windows 7 to 10 x64: out of the article's scope, and still counted as far as tables or symbols lead.

Expected figures are the writer's own books. The kernels from 8.1 on keep their debugger block encoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samples
from dumpscan.batch import worker
from dumpscan.batch.job import Analysis, Job, Status
from dumpscan.case import Case, Options, open_case
from dumpscan.errors import KernelNotFound
from dumpscan.memory.virtual import PagedMemory, PageSet
from dumpscan.model import Verdict
from samples.isf import symbol_table, write_symbols
from tests.cli.run import run
from tests.test_samples import blocks_truth, tracker_of, tracker_truth, walked

RAM_MB = 16
SEVEN = ["win7-sp1-x64", "2008-r2-x64"]
ENCODED = ["win81-x64", "win10-10240-x64", "win10-19041-x64"]
PRODUCTS = {
    "win7-sp1-x64": "Windows 7", "2008-r2-x64": "Windows Server 2008 R2", "win81-x64": "Windows 8.1",
    "win10-10240-x64": "Windows 10", "win10-19041-x64": "Windows 10", "win11-22621-x64": "Windows 11",
}  # fmt: skip

Open = Callable[..., Case]


@lru_cache(maxsize=None)
def machine(profile: str, scenario: str = "leak", **options: Any) -> samples.Machine:
    return samples.build(profile, scenario, ram_mb=RAM_MB, seed=11, **{"cycles": 1100, **options})


@pytest.fixture(name="opened")
def _opened(tmp_path: Path) -> Open:
    """Opens a machine in a container, with its symbols unless told otherwise."""

    def opened(made: samples.Machine, container: str = "raw", symbols: Path | bool = True) -> Case:
        folders: tuple[Path, ...] = ()
        if symbols is True:
            write_symbols(made.options.kernel, tmp_path / "symbols")
            folders = (tmp_path / "symbols",)
        elif symbols:
            folders = (symbols,)
        path = samples.write(made, container, tmp_path / f"{made.options.profile}.{container}")
        return open_case(path, Options(symbol_dirs=folders))

    return opened


def check(case: Case, made: samples.Machine) -> Verdict:
    """Identity, tags and verdict by the writer's books."""
    truth, info = made.truth, case.kernel.info
    assert (info.product, info.version) == (PRODUCTS[made.options.profile], truth["kernel"]["file_version"])
    assert (info.build_lab, info.base) == (truth["kernel"]["build_lab"], truth["kernel"]["base"])
    assert info.pdb is not None and info.pdb.guid == truth["kernel"]["guid"]
    assert case.kernel.machine.processors == truth["kernel"]["cpus"]
    assert tracker_of(case) == tracker_truth(truth)
    result = case.verdict()
    assert (result.verdict.code, result.fix.state) == (truth["expected"]["verdict"], "out-of-scope")
    return result


# -- Windows 7 and Server 2008 R2: no symbols needed ------------------------------------------------


@pytest.mark.parametrize("profile", SEVEN)
@pytest.mark.parametrize(("container", "states"), [("raw", ("valid", "transition")), ("kernel", ("valid",))])
def test_seven_is_counted_without_symbols(
    profile: str, container: str, states: tuple[str, ...], opened: Open
) -> None:
    made = machine(profile, processors=2)
    case = opened(made, container, symbols=False)
    result = check(case, made)
    assert (result.verdict.code, result.signature.state) == ("unexpected", "present")
    assert walked(case) == blocks_truth(made.truth, *states)
    used = {name: made.truth["pools"][name]["pages_in_use"] * 4096 for name in ("paged", "nonpaged")}
    assert {"paged": result.pool.paged.used_bytes, "nonpaged": result.pool.nonpaged.used_bytes} == used


def test_healthy_seven(opened: Open) -> None:
    made = machine("win7-sp1-x64", "healthy")
    assert check(opened(made, symbols=False), made).verdict.code == "does-not-exhibit"


# -- Windows 8.1 and 10: by symbols -----------------------------------------------------------------


@pytest.mark.parametrize("profile", ENCODED)
@pytest.mark.parametrize(
    ("container", "found_by"), [("raw", "image scan"), ("kernel", "module list"), ("full", "module list")]
)
def test_with_symbols(profile: str, container: str, found_by: str, opened: Open) -> None:
    made = machine(profile, processors=4)
    case = opened(made, container)
    result = check(case, made)
    assert result.verdict.code == "unexpected"
    assert result.kernel.found_by == found_by and result.kernel.kdbg is None
    assert case.drivers.unloads_total == made.truth["unloads_total"]
    assert {module.name for module in case.drivers.loaded} == {m["name"] for m in made.truth["modules"]}
    books: dict[tuple[str, str], list[int]] = {}
    for entry in made.truth["big_table"]["entries"]:
        row = books.setdefault((entry["tag"], entry["pool"]), [0, 0])
        row[0], row[1] = row[0] + 1, row[1] + entry["bytes"]
    seen = {
        (use.tag, name): [part.big.count, part.big.bytes]
        for use in case.census("tables").tags
        for name, part in (("paged", use.paged), ("nonpaged", use.nonpaged))
        if part.big is not None and part.big.count
    }
    assert seen == books


@pytest.mark.parametrize(
    ("profile", "reason"), [("win81-x64", "where the pools"), ("win10-19041-x64", "segment heap")]
)
def test_pool_pages_are_refused_by_name(profile: str, reason: str, opened: Open) -> None:
    """The sample's pages hold chains all the same: a walk would find blocks there."""
    found = opened(machine(profile, processors=4)).pools("pages")
    assert not any(use.paged.outstanding or use.nonpaged.outstanding for use in found.tags)
    assert found.coverage.paged_pages is None
    assert any(reason in note for note in found.notes)


def test_a_block_that_windows_decoded(opened: Open) -> None:
    """A dump by Windows has KDBG in the clear; the size of the tracker table still takes symbols."""
    made = machine("win10-10240-x64", debugger="plain")
    assert check(opened(made, "full"), made).kernel.found_by == "dump header"
    blind = opened(made, "full", symbols=False).verdict()
    assert (blind.verdict.code, blind.pool.tags) == ("inconclusive", ())
    assert made.truth["kernel"]["guid"] in blind.verdict.summary


@pytest.mark.parametrize("profile", ENCODED)
def test_missing_symbols_are_named(profile: str, opened: Open) -> None:
    made = machine(profile, processors=4)
    result = opened(made, "kernel", symbols=False).verdict()
    assert (result.verdict.code, result.fix.state, result.pool.tags) == ("inconclusive", "out-of-scope", ())
    assert result.kernel.product == PRODUCTS[profile]
    wanted = f"ntkrnlmp.pdb {made.truth['kernel']['guid']} age {made.truth['kernel']['age']}"
    assert any(wanted in note and "--symbols" in note for note in result.kernel.notes)
    assert wanted in result.verdict.summary and "--symbols" in result.verdict.advice


def test_symbols_of_another_build_are_refused_by_name(opened: Open, tmp_path: Path) -> None:
    made = machine("win10-19041-x64", processors=4)
    table = symbol_table(made.options.kernel)
    table["metadata"]["windows"]["pdb"]["GUID"] = "0" * 32
    (tmp_path / "ntkrnlmp.json").write_text(json.dumps(table), encoding="utf-8")
    case = opened(made, "kernel", symbols=tmp_path)
    assert not case.kernel.symbols
    assert any("ntkrnlmp.json is of " + "0" * 32 in note for note in case.kernel.info.notes)
    assert case.verdict().verdict.code == "inconclusive"


def test_table_directly_in_the_folder(opened: Open, tmp_path: Path) -> None:
    made = machine("win10-19041-x64", processors=4)
    text = json.dumps(symbol_table(made.options.kernel, types=False))
    (tmp_path / "ntkrnlmp.json").write_text(text, encoding="utf-8")
    check(opened(made, "kernel", symbols=tmp_path), made)


@pytest.mark.parametrize("container", ["raw", "kernel"])
def test_windows_11_by_the_structures_of_its_symbols(container: str, opened: Open) -> None:
    """Entries of another size, which no layout of ours has."""
    made = machine("win11-22621-x64", processors=2)
    case = opened(made, container)
    check(case, made)
    big = {use.tag: use.paged.big.bytes for use in case.census("tables").tags if use.paged.big}
    books = made.truth["big_allocations_by_tag"]["paged"]
    assert {tag: size for tag, size in big.items() if size} == {t: row["bytes"] for t, row in books.items()}


def test_a_build_without_structures_is_not_read(opened: Open, tmp_path: Path) -> None:
    made = machine("win11-22621-x64", processors=2)
    bare = symbol_table(made.options.kernel, types=False)
    (tmp_path / "ntkrnlmp.json").write_text(json.dumps(bare), encoding="utf-8")
    case = opened(made, "kernel", symbols=tmp_path)
    assert case.kernel.symbols and case.kernel.layout is None
    result = case.verdict()
    assert (result.verdict.code, result.pool.tags) == ("inconclusive", ())
    assert any("the symbol table does not describe them" in note for note in result.kernel.notes)


# -- the verdict ------------------------------------------------------------------------------------


def test_the_look_alike_of_windows_10(opened: Open) -> None:
    """'Pp  ' alone grows: not this leak, and 'Pp  ' is who to look at."""
    made = machine("win10-19041-x64", "only-pp", cycles=12000)
    result = check(opened(made, "kernel"), made)
    assert result.verdict.code == "does-not-exhibit"
    assert result.signature.state == "absent"
    assert [(suspect.tag, suspect.pool) for suspect in result.suspects[:1]] == [("Pp  ", "paged")]
    assert "'Pp  '" in result.verdict.summary


def test_small_numbers_do_not_accuse(opened: Open) -> None:
    made = machine("win7-sp1-x64", "early", cycles=300)
    assert check(opened(made, symbols=False), made).verdict.code == "inconclusive"


# -- commands that look into pages ------------------------------------------------------------------


def test_blocks_are_not_said_to_be_absent(opened: Open) -> None:
    """Contents and lists of small blocks say that pages were not read, not that there is nothing."""
    made = machine("win10-19041-x64", processors=4)
    case = opened(made, "kernel")
    report = case.attribution()
    assert report.attribution.notes and all("segment heap" in note for note in report.attribution.notes)
    result = run("allocations", case.info.path, "--tag", "IoSe", "-q")
    assert result.exit_code == 0
    assert "segment heap" in result.stderr and made.truth["kernel"]["guid"] in result.stderr


def test_batch_passes_symbols_on(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine("win81-x64", processors=4)
    path = opened(made, "kernel").info.path
    monkeypatch.setattr(worker._self, "analysis", Analysis(symbols=(str(tmp_path / "symbols"),)))
    monkeypatch.setattr(worker._self, "options", None)
    outcome = worker.analyse(Job(path, path))
    assert outcome.status is Status.OK, outcome.reason
    assert json.loads(outcome.document or "{}")["verdict"]["code"] == made.truth["expected"]["verdict"]


def test_a_boot_range_without_its_tables_costs_no_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 512 entries below the root's one for FFFFF800`00000000 lead to a table that the image lacks."""
    path = samples.write(machine("win10-19041-x64"), "raw", tmp_path / "a.raw")
    tables = np.fromfile(path, "<u8").reshape(-1, 512)
    own = np.arange(len(tables), dtype=np.uint64) << np.uint64(12) | np.uint64(1)
    roots = (tables[:, 256:] & np.uint64(0xFFFF_FFFFF001) == own[:, None]).any(axis=1)
    free = int(np.flatnonzero(~tables.any(axis=1))[-1])
    tables[free] = 0x7FFFF063  # a frame at 2 GB
    tables[roots, 0x1F0] = free << 12 | 0x63
    tables.tofile(path)
    walked: list[int] = []
    walk = PagedMemory.pages_in

    def counted(memory: PagedMemory, start: int, end: int) -> PageSet:
        walked.append(start)
        return walk(memory, start, end)

    monkeypatch.setattr(PagedMemory, "pages_in", counted)
    with pytest.raises(KernelNotFound, match="no image of an x64 Windows kernel"):
        _ = open_case(path).kernel
    assert int(roots.sum()) > 1 and not walked
