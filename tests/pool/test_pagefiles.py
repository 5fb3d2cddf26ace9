"""Paged-out pool read from page files: the writer's books, and files that are not the right ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import samples
from dumpscan.case import Case, Options, open_case
from tests.cli.run import run

STATES = ("valid", "transition", "pagefile")


class Beside:
    """One machine, its image and its page files."""

    def __init__(self, folder: Path, container: str = "full", **options: Any) -> None:
        chosen = {
            "profile": "xpsp3-x86-pae",
            "seed": 5,
            "cycles": 1500,
            "page_files": 2,
            "ram_mb": 24,
            **options,
        }
        self.machine = samples.build(**chosen)
        self.truth: dict[str, Any] = self.machine.truth
        folder.mkdir(exist_ok=True)
        self.image = samples.write(self.machine, container, folder / "image.img")
        self.files = tuple(sorted(folder.glob("image.img.pagefile*.sys")))
        assert len(self.files) == chosen["page_files"]

    def case(self, *files: Path) -> Case:
        return open_case(self.image, Options(page_files=files))

    def blocks(self, *states: str) -> Counter[tuple[str, str, str]]:
        """(tag, pool, what) -> blocks or bytes, by the writer's books."""
        found: Counter[tuple[str, str, str]] = Counter()
        for key in ("small_blocks", "quota_blocks_without_tag"):
            for pool, tags in self.truth[key].items():
                for tag, by_state in tags.items():
                    name = tag if key == "small_blocks" else "?quo"
                    for state in states:
                        found[name, pool, "allocs"] += by_state[state]["allocs"]
                        found[name, pool, "bytes"] += by_state[state]["bytes"]
        return +found

    def out_pages(self) -> int:
        states = self.truth["pools"]["paged"]["page_states"]
        return int(states["pagefile"] + states["big_pagefile"])


def walked(case: Case) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for row in case.census("pages").tags:
        for pool, use in (("paged", row.paged), ("nonpaged", row.nonpaged)):
            found[row.tag, pool, "allocs"] += use.outstanding
            found[row.tag, pool, "bytes"] += use.bytes
    return +found


def warnings(case: Case) -> str:
    assert case.kernel is not None
    return "\n".join(case.warnings)


@pytest.fixture(scope="module")
def pae(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    return Beside(tmp_path_factory.mktemp("pae") / "a")


@pytest.mark.parametrize(
    ("profile", "count", "options"),
    [
        ("xpsp3-x86", 1, {}),
        ("xpsp3-x86-pae", 2, {}),
        ("xpsp3-x86-pae", 2, {"scenario": "no-tagging"}),
        ("2003-sp2-x86-pae", 3, {"paged_out": 0.5}),
        ("vista-rtm-x86", 2, {}),
        ("vista-sp1-x64", 2, {"processors": 2}),
        ("xp-x64", 1, {"paged_out": 0.4}),
        ("2008-ia64", 2, {}),
    ],
)
def test_everything_is_counted_and_nothing_is_left_to_explain(
    profile: str, count: int, options: dict[str, Any], tmp_path: Path
) -> None:
    beside = Beside(tmp_path, profile=profile, page_files=count, **options)
    case = beside.case(*beside.files)
    pool = case.census("pages")
    assert walked(case) == beside.blocks(*STATES)
    assert pool.coverage.paged_pages == 1
    assert [(row.tag, row.note) for row in pool.reconciliation if row.note] == []
    assert {row.unexplained_bytes for row in pool.reconciliation} <= {0}
    assert not case.warnings
    assert pool.page_states["paged"].pagefile == beside.out_pages()


def test_without_the_files_the_same_pages_are_unknown(pae: Beside) -> None:
    pool = pae.case().census("pages")
    assert walked(pae.case()) == pae.blocks("valid", "transition")
    held = pae.truth["pools"]["paged"]["page_states"]
    known = held["valid"] + held["big_valid"] + held["transition"] + held["big_transition"]
    assert pool.coverage.paged_pages == pytest.approx(known / (known + pae.out_pages()))


def test_a_kernel_dump_lacks_pages_in_transition_only(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "kernel", profile="vista-sp1-x64", page_files=1)
    case = beside.case(*beside.files)
    assert walked(case) == beside.blocks("valid", "pagefile")
    assert {row.unexplained_bytes for row in case.census("pages").reconciliation} == {0}


def test_one_file_of_two_gives_its_part(pae: Beside) -> None:
    """The second file alone cannot be given, numbers go by the order: something must stand for the first
    (:func:`test_another_machines_file_is_not_used`). The first alone can."""
    case = pae.case(pae.files[0])
    pool = case.census("pages")
    assert pae.blocks("valid", "transition").total() < walked(case).total() < pae.blocks(*STATES).total()
    assert pool.coverage.paged_pages is not None and 0.8 < pool.coverage.paged_pages < 1
    assert {row.unexplained_bytes for row in pool.reconciliation} == {0}
    assert any("were not given: [1]" in note for note in case.kernel.info.notes)


def test_files_in_the_wrong_order_are_not_used_and_the_right_one_is_told(pae: Beside) -> None:
    case = pae.case(*reversed(pae.files))
    assert "it fits as page file 1: give the files in the order" in warnings(case)
    assert "it fits as page file 0" in warnings(case)
    assert "any other file in the place of a lost one" in warnings(case)
    assert walked(case) == pae.blocks("valid", "transition")


def test_another_machines_file_is_not_used(pae: Beside, tmp_path: Path) -> None:
    other = Beside(tmp_path, seed=6, page_files=1)
    case = pae.case(*other.files)
    assert "of another machine or moment" in warnings(case)
    assert walked(case) == pae.blocks("valid", "transition")
    both = pae.case(*other.files, pae.files[1])
    assert "page file 0" in warnings(both) and "page file 1" not in warnings(both)
    assert walked(both).total() > walked(case).total()


def test_what_is_no_page_file_at_all_is_not_used(pae: Beside, tmp_path: Path) -> None:
    for name, content in (("zeros", bytes(1 << 20)), ("text", b"no page file. " * 80000)):
        (tmp_path / name).write_bytes(content)
        case = pae.case(tmp_path / name)
        assert "of another machine" in warnings(case)
        assert walked(case) == pae.blocks("valid", "transition")


def test_a_file_that_is_cut_off_gives_what_it_holds(pae: Beside, tmp_path: Path) -> None:
    cut = tmp_path / "pagefile.sys"
    whole = pae.files[0].read_bytes()
    cut.write_bytes(whole[: len(whole) // 2 + 100])
    case = pae.case(cut, pae.files[1])
    pool = case.census("pages")
    assert "beyond its end (is it whole?)" in warnings(case)
    assert pae.blocks("valid", "transition").total() < walked(case).total() < pae.blocks(*STATES).total()
    assert pool.coverage.paged_pages is not None and pool.coverage.paged_pages < 1
    assert {row.unexplained_bytes for row in pool.reconciliation} == {0}


def test_a_file_shorter_than_every_entry_is_said(pae: Beside, tmp_path: Path) -> None:
    cut = tmp_path / "pagefile.sys"
    cut.write_bytes(bytes(4096))
    assert "beyond its end" in warnings(pae.case(cut))


def test_a_file_of_another_moment_is_used_and_said(pae: Beside, tmp_path: Path) -> None:
    """A third of the pages has been given to others since."""
    slots = pae.machine.page_files
    assert slots is not None
    number, offset = slots.place(slots.taken)
    content = bytearray(pae.files[0].read_bytes())
    mine = offset[number == 0].tolist()
    for page in mine[::3]:
        content[page * 4096 : (page + 1) * 4096] = b"another process".ljust(4096, b".")
    changed = tmp_path / "pagefile.sys"
    changed.write_bytes(content)
    case = pae.case(changed, pae.files[1])
    assert "of another moment?" in warnings(case)
    assert walked(case).total() < pae.blocks(*STATES).total()


def test_pool_pages_of_another_moment_show_in_the_reconciliation(pae: Beside, tmp_path: Path) -> None:
    """Three pages of the file hold what a fourth one holds: sound chains, blocks that nobody counts."""
    slots = pae.machine.page_files
    assert slots is not None
    number, offset = slots.place(slots.taken)
    content = bytearray(pae.files[0].read_bytes())
    one, *others = [page for page in offset[number == 0].tolist() if content[page * 4096 + 2] != 0][:4]
    for page in others:
        content[page * 4096 : (page + 1) * 4096] = content[one * 4096 : (one + 1) * 4096]
    stale = tmp_path / "pagefile.sys"
    stale.write_bytes(content)
    case = pae.case(stale, pae.files[1])
    pool = case.census("pages")
    assert not case.warnings, "every page is a pool page"
    assert any(row.unexplained_bytes and row.unexplained_bytes < 0 for row in pool.reconciliation)
    assert any("may be of another moment" in note for note in pool.notes)


def test_a_report_draws_what_page_files_hold(pae: Beside, tmp_path: Path) -> None:
    """No page of the pool is paged out any more; without the files as many as the books say are."""
    pictures = pae.case(*pae.files).report().pictures
    without = pae.case().report().pictures
    assert pictures is not None and without is not None
    paged, away = (next(m for m in p.maps if m.pool == "paged") for p in (pictures, without))
    assert away.pages["p"] == pae.out_pages()
    assert not paged.pages.get("p")


def test_a_sample_and_contents_reach_into_page_files(pae: Beside) -> None:
    case = pae.case(*pae.files)
    iose = next(row for row in case.pools("sample").tags if row.tag == "IoSe")
    assert iose.paged.outstanding == pae.blocks(*STATES)["IoSe", "paged", "allocs"]
    found = {tag.tag: tag.blocks for tag in case.attribution(("IoSe",)).attribution.tags}
    assert found == {"IoSe": pae.blocks(*STATES)["IoSe", "paged", "allocs"]}


def test_the_command_line(pae: Beside, tmp_path: Path) -> None:
    options = [part for file in pae.files for part in ("--pagefile", file)]
    listed = run("allocations", pae.image, "--tag", "IoSe", "--format", "csv", *options).stdout.splitlines()
    states = Counter(line.split(",")[-1] for line in listed[1:])
    books = pae.truth["small_blocks"]["paged"]["IoSe"]
    assert {state: states[state] for state in STATES} == {state: books[state]["allocs"] for state in STATES}
    result = run("verdict", pae.image, "--census", "pages", *options)
    assert result.exit_code == 0 and result.stderr == ""
    wrong = run("pools", pae.image, "--source", "pages", "--pagefile", pae.files[1])
    assert wrong.exit_code == 0 and "dumpscan: warning: page file 0" in wrong.stderr
    assert run("verdict", pae.image, "--pagefile", pae.image).exit_code == 2
    assert run("verdict", pae.image, "--pagefile", tmp_path / "none.sys").exit_code == 3
