"""Estimates from sampled pages against the writer's truth, over two hundred machines.

The machines are small, so that two hundred take less than a minute; the sample is smaller still
(48 pages of each pool), so that half of a healthy paged pool and more of a leaking one stay unread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import dumpscan
import samples
from dumpscan.case import Case, Options, open_case
from dumpscan.model import Interval, Pool, PoolUse
from dumpscan.pool.sample import take_sample
from dumpscan.records import replace

PAGES = 48
MACHINES = 200
PROFILES = (
    ("xpsp3-x86-pae", "no-tagging"),
    ("xpsp2-x86", "leak"),
    ("vista-sp1-x64", "leak"),
    ("2003-sp2-x86-pae-mp", "healthy"),
)
LEAKING = ("IoSe", "Pp  ")
COMMON = 5
LEVEL = 0.93
"""The intervals say 0.95; what is asked for leaves room for chance in two hundred machines."""


class Seen(NamedTuple):
    """One figure of one machine: the truth, the interval, and whether the sample showed the tag."""

    tag: str
    pool: str
    common: bool
    truth: int
    low: int
    high: int

    @property
    def inside(self) -> bool:
        return self.low <= self.truth <= self.high


def in_use(truth: dict[str, Any], pool: str) -> dict[str, tuple[int, int]]:
    """Blocks and bytes by tag in valid pages, by the writer's books."""
    rows = {tag: states["valid"] for tag, states in truth["small_blocks"][pool].items()}
    return {tag: (row["allocs"], row["bytes"]) for tag, row in rows.items() if row["allocs"]}


def sampled(path: Path, pages: int = PAGES) -> Case:
    return open_case(path, Options(census="sample", sample_pages=pages))


def interval(found: Pool, tag: str, pool: str) -> Interval:
    use = next((use for use in found.tags if use.tag == tag), None)
    part: PoolUse = getattr(use, pool) if use else PoolUse()
    return part.interval or found.sample[pool].unseen


def compare(found: Pool, truth: dict[str, Any]) -> Iterator[tuple[Seen, Seen]]:
    """Every tag of both pools: outstanding, bytes."""
    for pool in ("paged", "nonpaged"):
        known = in_use(truth, pool)
        common = sorted(known, key=lambda tag: -known[tag][0])[: COMMON + len(LEAKING)]
        for tag, (blocks, octets) in known.items():
            ends = interval(found, tag, pool)
            what = (tag, pool, tag in common and tag not in LEAKING)
            yield (
                Seen(*what, blocks, ends.outstanding_low, ends.outstanding_high),
                Seen(*what, octets, ends.bytes_low, ends.bytes_high),
            )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Seen, Seen]]:
    """All figures of all machines, each with a seed of its own; an image lives until it was read."""
    path = tmp_path_factory.mktemp("sampled") / "machine.dmp"
    found: list[tuple[Seen, Seen]] = []
    for seed in range(MACHINES):
        profile, scenario = PROFILES[seed % len(PROFILES)]
        machine = samples.build(profile, scenario, seed=seed, ram_mb=16, cycles=1500 - 5 * seed)
        case = sampled(samples.write(machine, "kernel", path))
        census = case.census()
        assert census.sample["paged"].pages < 0.6 * census.sample["paged"].pages_held
        found.extend(compare(census, machine.truth))
        case.opened.close()
    return found


def share(chosen: list[Seen]) -> float:
    return sum(each.inside for each in chosen) / len(chosen)


@pytest.mark.parametrize("figure", [0, 1], ids=["outstanding", "bytes"])
def test_coverage_of_the_signatures_tags(figures: list[tuple[Seen, Seen]], figure: int) -> None:
    for tag in LEAKING:
        mine = [row[figure] for row in figures if (row[0].tag, row[0].pool) == (tag, "paged")]
        assert len(mine) == MACHINES
        assert share(mine) >= LEVEL, tag


@pytest.mark.parametrize("pool", ["paged", "nonpaged"])
@pytest.mark.parametrize("figure", [0, 1], ids=["outstanding", "bytes"])
def test_coverage_of_common_tags(figures: list[tuple[Seen, Seen]], figure: int, pool: str) -> None:
    mine = [row[figure] for row in figures if row[0].common and row[0].pool == pool]
    assert len(mine) >= MACHINES * COMMON
    assert share(mine) >= LEVEL


@pytest.mark.parametrize("figure", [0, 1], ids=["outstanding", "bytes"])
def test_coverage_of_all_tags_seen_or_not(figures: list[tuple[Seen, Seen]], figure: int) -> None:
    mine = [row[figure] for row in figures]
    assert share(mine) >= LEVEL
    assert any(each.low == 0 for each in mine), "some tags must have escaped the sample"
    by_tag: dict[tuple[str, str], list[Seen]] = {}
    for each in mine:
        by_tag.setdefault((each.tag, each.pool), []).append(each)
    for key, rows in by_tag.items():
        assert len(rows) < MACHINES // 4 or share(rows) >= LEVEL, key


def test_intervals_are_of_use(figures: list[tuple[Seen, Seen]]) -> None:
    """An interval from nothing to everything would hold the truth too."""
    leaked = [row[0] for row in figures if row[0].tag in LEAKING and row[0].truth > 500]
    assert len(leaked) >= MACHINES
    assert sum(each.high - each.low < each.truth for each in leaked) > 0.9 * len(leaked)
    assert all(0 < each.low < each.high for each in leaked)


# -- one machine at a time --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leak(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    machine = samples.build("xpsp3-x86-pae", "no-tagging", seed=11, ram_mb=24)
    path = samples.write(machine, "full", tmp_path_factory.mktemp("leak") / "leak.dmp")
    return path, machine.truth


def test_a_leak_without_tables_is_told_from_a_sample(leak: tuple[Path, dict[str, Any]]) -> None:
    path, truth = leak
    result = sampled(path, 256).verdict()
    assert truth["expected"]["verdict"] == "exhibits"
    assert (result.verdict.code, result.signature.state) == ("exhibits", "present")
    assert {use.source for use in result.pool.tags} == {"sample"}
    iose = next(each for each in result.signature.evidence if each.text.startswith("IoSe"))
    read = result.pool.sample["paged"]
    assert (read.pages <= 256, read.pages_held > 500) == (True, True)
    assert f"random sample of {read.pages:,} of the {read.pages_held:,} pages" in iose.text
    assert "at 95 %" in iose.text
    assert "drawn at random" in iose.where


def test_the_same_image_gives_the_same_answer(leak: tuple[Path, dict[str, Any]]) -> None:
    first, second = (sampled(leak[0]).census() for _ in range(2))
    assert first == second


def test_another_seed_gives_another_sample(leak: tuple[Path, dict[str, Any]]) -> None:
    kernel = dumpscan.open(leak[0]).kernel
    one, other = (take_sample(kernel, None, pages=PAGES, seed=seed) for seed in (1, 2))
    assert one is not None
    assert other is not None
    assert one.count.value.tolist() != other.count.value.tolist()


def test_a_pool_that_fits_the_sample_is_counted_exactly(leak: tuple[Path, dict[str, Any]]) -> None:
    path, truth = leak
    found = sampled(path, 100_000).census()
    assert {use.source for use in found.tags} == {"pages"}
    assert not found.sample
    assert any("figures are exact" in note for note in found.notes)
    expected = {
        tag: sum(states[state]["allocs"] for state in ("valid", "transition"))
        for tag, states in truth["small_blocks"]["paged"].items()
    }
    counted = {use.tag: use.paged.outstanding for use in found.tags}
    assert {tag: counted.get(tag, 0) for tag in expected} == expected
    assert all(use.paged.interval is None for use in found.tags)


def test_one_pool_read_whole_beside_one_sampled(leak: tuple[Path, dict[str, Any]]) -> None:
    path, truth = leak
    found = sampled(path, 400).census()
    whole, part = found.sample["nonpaged"], found.sample["paged"]
    assert whole.pages == whole.pages_held
    assert (whole.unseen_pages, whole.unseen) == (0, Interval(0, 0, 0, 0))
    assert part.pages < part.pages_held
    for tag, (blocks, octets) in in_use(truth, "nonpaged").items():
        assert interval(found, tag, "nonpaged") == Interval(blocks, blocks, octets, octets)


def test_pages_in_transition_are_sampled_too(leak: tuple[Path, dict[str, Any]]) -> None:
    path, truth = leak
    states = truth["small_blocks"]["paged"]["IoSe"]
    assert states["transition"]["allocs"] > 0
    both = states["valid"]["allocs"] + states["transition"]["allocs"]
    ends = interval(sampled(path, 512).census(), "IoSe", "paged")
    assert ends.outstanding_low <= both <= ends.outstanding_high


def test_a_healthy_machine_does_not_exhibit_by_a_sample(tmp_path: Path) -> None:
    machine = samples.build("xpsp3-x86-pae", "healthy", seed=4, ram_mb=24, tagging=False)
    case = sampled(samples.write(machine, "full", tmp_path / "healthy.dmp"), 128)
    assert case.verdict().verdict.code == "does-not-exhibit"


def test_the_document_says_that_it_is_a_sample(leak: tuple[Path, dict[str, Any]]) -> None:
    found = sampled(leak[0]).pools("sample")
    assert found.source == "sample"
    assert found.sample["paged"].pages <= PAGES
    assert any("estimates from" in note and "95 %" in note for note in found.notes)


def test_an_unknown_layout_is_no_sample(leak: tuple[Path, dict[str, Any]]) -> None:
    kernel = replace(dumpscan.open(leak[0]).kernel, layout=None)
    assert take_sample(kernel, None) is None
