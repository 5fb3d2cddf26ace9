"""End to end: documents of the library against the truth files of the acceptance images."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Any

import pytest

import dumpscan
from dumpscan.model import PoolUse, Verdict, from_dict, to_dict
from tests import acceptance

NAMES = ("a01", "a02", "a03", "a04", "a05", "a06")
POOLS = (("paged", "paged"), ("nonpaged", "np"))


@lru_cache(maxsize=None)
def case(name: str) -> Any:
    return dumpscan.open(acceptance.image(name))


@lru_cache(maxsize=None)
def verdict(name: str) -> dict[str, Any]:
    document: dict[str, Any] = to_dict(case(name).verdict())
    return document


@pytest.mark.parametrize("name", NAMES)
def test_verdict_and_fix(name: str) -> None:
    expected = acceptance.truth(name)["expected"]
    assert verdict(name)["verdict"]["code"] == expected["verdict"]
    assert verdict(name)["fix"]["state"] == expected["fix"]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "a02"])
def test_tracker_counters(name: str) -> None:
    truth = acceptance.truth(name)
    tags = {row["tag"]: row for row in to_dict(case(name).pools("tracker"))["tags"]}
    assert set(tags) == set(truth["tracker"])
    for tag, row in truth["tracker"].items():
        for pool, short in POOLS:
            use = tags[tag][pool]
            assert use["allocs"] == row[f"{short}_allocs"], (tag, pool)
            assert use["frees"] == row[f"{short}_frees"], (tag, pool)
            assert use["bytes"] == row[f"{short}_bytes"], (tag, pool)
            assert use["outstanding"] == row[f"{short}_allocs"] - row[f"{short}_frees"], (tag, pool)
    assert verdict(name)["pool"]["tags"] == list(tags.values()) or {
        row["tag"] for row in verdict(name)["pool"]["tags"]
    } == set(tags)


def blocks(name: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(tag, pool) -> (allocations, bytes) of pages that the image holds."""
    truth = acceptance.truth(name)
    states = ("valid",) if truth["files"][0].get("dump_type") == 2 else ("valid", "transition")
    found = {}
    for pool, tags in truth["small_blocks"].items():
        for tag, by_state in tags.items():
            total = tuple(sum(by_state[state][key] for state in states) for key in ("allocs", "bytes"))
            if total[0]:
                found[tag, pool] = total
    return found


@pytest.mark.parametrize("name", NAMES)
def test_walk_counts(name: str) -> None:
    walked: dict[tuple[str, str], tuple[int, int]] = {}
    for row in case(name).pools("pages").tags:
        for pool in ("paged", "nonpaged"):
            use: PoolUse = getattr(row, pool)
            assert use.allocs is None and use.frees is None
            if use.outstanding:
                walked[row.tag, pool] = (use.outstanding, use.bytes)
    assert walked == blocks(name)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "a02"])
def test_big_allocations(name: str) -> None:
    truth = acceptance.truth(name)
    expected: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for entry in truth["big_table"]["entries"]:
        expected[entry["tag"], entry["pool"]][0] += 1
        expected[entry["tag"], entry["pool"]][1] += entry["bytes"]
    found = {}
    for row in case(name).pools("pages").tags:
        for pool in ("paged", "nonpaged"):
            big = getattr(row, pool).big
            if big is not None and big.count:
                found[row.tag, pool] = [big.count, big.bytes]
    assert found == dict(expected)


@pytest.mark.parametrize("name", NAMES)
def test_pool_totals(name: str) -> None:
    truth, pool = acceptance.truth(name), verdict(name)["pool"]
    assert pool["tagging"] == ("on" if truth["tagging"] else "off")
    for which in ("paged", "nonpaged"):
        expected = truth["pools"][which]
        assert pool[which]["limit_bytes"] == expected["limit_bytes"]
        assert pool[which]["used_bytes"] == expected["pages_in_use"] * 4096
        assert pool[which]["fullness"] == pytest.approx(expected["used_fraction"], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_document_survives_a_round_trip(name: str) -> None:
    document = verdict(name)
    assert to_dict(from_dict(Verdict, document)) == document
    assert document["schema"] == "dumpscan.verdict/1"


def test_other_tag_is_named_as_suspect() -> None:
    assert verdict("a06")["suspects"][0]["tag"] == "MfeL"


def test_no_suspects_on_healthy_machines() -> None:
    assert verdict("a03")["suspects"] == []
    assert verdict("a05")["suspects"] == []


def test_triage_dump_is_inconclusive_and_says_what_to_get() -> None:
    document = to_dict(dumpscan.open(acceptance.shared("images/triage_x64.dmp")).verdict())
    assert document["verdict"]["code"] == "inconclusive"
    assert document["fix"]["state"] == "out-of-scope"
    assert "kernel memory dump" in document["verdict"]["advice"]
