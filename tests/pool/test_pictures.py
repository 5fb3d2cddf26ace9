"""Sizes of blocks and the pools by address: signs and cells by hand, figures against truth files."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dumpscan.case import open_case
from dumpscan.model_pictures import MapSegment, Pictures
from dumpscan.pool import pictures
from tests.acceptance import image, truth

TAGS = ("IoSe", "Pp  ")
LETTERS = ".-xp?o&AB"


def test_signs_of_pages() -> None:
    scheme = pictures._Scheme(("IoSe", "Pp  ", "CM35"), 2)
    #         .  -  x  p  ?  o     &  IoSe  Pp    CM35
    held = [
        [0, 0, 0, 0, 0, 100, 0, 1000, 900, 1000],  # the two together hold most of it
        [0, 0, 0, 0, 0, 100, 0, 3000, 500, 0],  # one of them six sevenths of that
        [0, 0, 0, 0, 0, 100, 0, 600, 600, 2700],  # another tag more than both
        [0, 0, 0, 0, 0, 1000, 0, 500, 0, 500],  # free space more than any
        [0, 0, 0, 0, 0, 3000, 0, 500, 0, 500],
    ]
    signs = scheme.signs(np.array(held, np.float64))
    assert "".join((LETTERS + "C")[sign] for sign in signs.tolist()) == "&AC-o"


def test_cells_show_what_most_of_their_pages_are() -> None:
    numbers = np.array([0, 1, 2, 3, 4, 5, 6, 7, 12], np.int64)
    signs = np.array([LETTERS.index(letter) for letter in "AAABxxxoB"], np.uint8)
    found, omitted = pictures._segments(numbers, signs, 4, LETTERS)
    assert found == (MapSegment("0x0", "Ax.B"),)
    assert omitted == 0


def test_a_large_gap_begins_a_new_segment_and_a_small_one_is_shown() -> None:
    signs = np.array([LETTERS.index("o")] * 3, np.uint8)
    numbers = np.array([0x80000, 0x80000 + 128, 0x80000 + 257], np.int64)
    found, _ = pictures._segments(numbers, signs, 1, LETTERS)
    assert found == (MapSegment("0x80000000", "o" + "." * 127 + "o"), MapSegment("0x80101000", "o"))


def test_too_many_segments_are_counted_not_listed() -> None:
    numbers = np.arange(60, dtype=np.int64) * 1000
    signs = np.full(60, LETTERS.index("o"), np.uint8)
    found, omitted = pictures._segments(numbers, signs, 1, LETTERS)
    assert (len(found), omitted) == (48, 12)


@cache
def drawn(name: str) -> Pictures:
    case = open_case(image(name))
    found = pictures.draw(case.kernel, case.census("tables").tags, TAGS)
    case.opened.close()
    assert found is not None
    return found


def test_the_leak_stands_out_by_size_and_count() -> None:
    known = truth("a01")
    found = {each.tag: {size.size: size.count for size in each.sizes} for each in drawn("a01").histograms}
    for tag in TAGS:
        # A kernel dump leaves pages in transition out.
        assert sum(found[tag].values()) == known["small_blocks"]["paged"][tag]["valid"]["allocs"]
        cycles = [each["block_bytes"] for each in known["expect"]["leak"]["per_cycle"] if each["tag"] == tag]
        common = sorted(found[tag], key=lambda size: -found[tag][size])[: len(cycles)]
        assert sorted(common) == sorted(cycles)


@pytest.mark.parametrize(("name", "has_transition"), [("a01", False), ("a03", False), ("a06", True)])
def test_pages_of_paged_pool_by_sign(name: str, has_transition: bool) -> None:
    states = truth(name)["pools"]["paged"]["page_states"]
    paged = next(each for each in drawn(name).maps if each.pool == "paged")
    assert paged.pages["p"] == states["pagefile"] + states["big_pagefile"]
    away = 0 if has_transition else states["transition"] + states["big_transition"]
    assert paged.pages.get("x", 0) == away
    assert int(paged.segments[0].start, 16) == int(truth(name)["pools"]["paged"]["start"], 16)
    assert paged.omitted == 0
    assert set("".join(segment.cells for segment in paged.segments)) <= {".", *paged.pages}


def test_a_part_of_the_pages_gives_a_part_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sum(size.count for each in drawn("a01").histograms for size in each.sizes)
    monkeypatch.setattr(pictures, "MOST_PAGES", 1000)
    case = open_case(image("a01"))
    found = pictures.draw(case.kernel, case.census("tables").tags, TAGS)
    case.opened.close()
    assert found is not None
    assert found.share is not None
    assert found.share < 0.5
    part = sum(size.count for each in found.histograms for size in each.sizes)
    assert part / whole == pytest.approx(found.share, rel=0.2)


def test_a_report_holds_tables_and_pages_against_each_other() -> None:
    case = open_case(image("a01"))
    found = case.report()
    plain = case.verdict()
    case.opened.close()
    assert plain.pictures is None
    assert plain.pool.reconciliation == ()
    assert found.pool.tags == plain.pool.tags
    assert found.pool.reconciliation
    assert found.attribution is not None
    assert found.attribution.scope == "all"
