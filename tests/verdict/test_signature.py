"""The engine on synthetic machines: leaks of every size, look-alikes, gaps in the evidence."""

from __future__ import annotations

import random

import pytest

from dumpscan.model import Coverage, Drivers, Pool, SignatureResult
from dumpscan.verdict.observe import Observation
from dumpscan.verdict.rules import builtin_signature
from dumpscan.verdict.signature import evaluate, match, whole_number
from tests.verdict import truth
from tests.verdict.machines import QUIET, machine_pool, ring, use


def state(pool: Pool, drivers: Drivers) -> str:
    return evaluate(builtin_signature(), pool, drivers).state


def outcomes(result: SignatureResult) -> dict[str, str]:
    return {evidence.id: evidence.outcome for evidence in result.evidence}


@pytest.mark.parametrize("name", truth.NAMES)
def test_acceptance_machines(name: str) -> None:
    _, _, _, pool, drivers = truth.inputs(name)
    expected = "present" if truth.load(name)["expected"]["verdict"] == "exhibits" else "absent"
    assert state(pool, drivers) == expected


@pytest.mark.parametrize("seed", range(120))
def test_any_leak_of_the_article_is_present(seed: int) -> None:
    dice = random.Random(seed)
    cycles = dice.randrange(1500, 60_001)
    pp = cycles * dice.choice((1, 2, 3, 4))
    total = cycles + dice.randrange(40) if dice.random() < 0.5 else None
    pool = machine_pool(
        cycles,
        pp,
        living=(dice.randrange(15, 60), dice.randrange(90, 300)),
        freed=(round(cycles * dice.uniform(0, 0.06)), round(pp * dice.uniform(0, 0.02))),
        sizes=(dice.choice((104, 120, 152, 160)), dice.choice((48, 88, 104, 136))),
        limit=dice.choice((24, 64, 256)) << 20,
    )
    assert state(pool, ring(repeated=dice.randrange(40, 51), others=0, total=total)) == "present"


@pytest.mark.parametrize("seed", range(60))
def test_a_leak_with_tagging_off_is_present_from_what_is_resident(seed: int) -> None:
    dice = random.Random(1000 + seed)
    cycles = dice.randrange(1500, 60_001)
    pool = machine_pool(
        cycles,
        cycles * dice.choice((1, 2, 3)),
        source="pages",
        coverage=dice.uniform(0.62, 0.95),
        sizes=(152, 128),
    )
    assert state(pool, ring()) == "present"


@pytest.mark.parametrize("seed", range(60))
def test_healthy_machines_are_absent_however_often_drivers_came_and_went(seed: int) -> None:
    dice = random.Random(2000 + seed)
    living = (dice.randrange(0, 95), dice.randrange(20, 340))
    freed = (dice.randrange(0, 300), dice.randrange(0, 4000))
    drivers = dice.choice((QUIET, ring(), ring(total=9000), ring(repeated=50, others=0, total=60_000)))
    source, coverage = dice.choice((("tracker", 1.0), ("pages", 0.75), ("pages", 0.97)))
    assert (
        state(machine_pool(living=living, freed=freed, source=source, coverage=coverage), drivers) == "absent"
    )


@pytest.mark.parametrize(("iose", "pp"), [(40_000, 0), (0, 40_000), (900, 0), (0, 2500)])
def test_one_tag_alone_is_not_this_leak(iose: int, pp: int) -> None:
    for drivers in (ring(), ring(total=max(iose, pp)), QUIET):
        assert state(machine_pool(iose, pp), drivers) == "absent"


@pytest.mark.parametrize("cycles", [250, 300, 400, 440])
def test_few_cycles_in_step_with_the_unloads_are_early(cycles: int) -> None:
    pool = machine_pool(cycles, cycles * 2, freed=(6, 20))
    assert state(pool, ring(total=cycles + 5)) == "early"
    assert state(pool, ring()) == "early"  # no total kept: the ring and the ratio of the tags


def test_small_numbers_out_of_step_or_often_freed_are_not_early() -> None:
    # 300 IoSe and 500 Pp, but 4,000 unloads: less than a block for each.
    assert state(machine_pool(300, 500), ring(total=4000)) == "absent"
    # In step, but freed as a healthy machine frees, and the unloads are of many different drivers.
    mixed = ring(repeated=12, others=38, total=300)
    assert state(machine_pool(300, 600, freed=(9000, 20_000)), mixed) == "absent"
    # The same counts on a machine that hardly unloaded any driver.
    assert state(machine_pool(300, 600), QUIET) == "absent"


@pytest.mark.parametrize("cycles", [200, 300, 400, 500, 600])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_frees_of_boot_do_not_hide_a_small_leak_of_one_driver_in_step(cycles: int, each: int) -> None:
    # 563 and 299 frees since boot have nothing to do with the leak.
    pool = machine_pool(cycles, cycles * each, living=(24, 116), freed=(563, 299))
    assert state(pool, ring(total=cycles + 10)) in ("early", "present")


def test_without_the_count_of_unloads_small_numbers_that_are_freed_often_do_not_decide() -> None:
    small = machine_pool(300, 600, living=(24, 116), freed=(563, 799))
    assert state(small, ring()) == "unknown"
    # 324 < 500, but 1,016 PnP blocks are beyond any healthy machine.
    assert state(machine_pool(300, 900, living=(24, 116), freed=(563, 799)), ring()) == "early"
    # Many drivers, not one again and again.
    assert state(small, ring(repeated=12, others=38)) == "absent"


@pytest.mark.parametrize("unloads", [200, 500, 4000, 30_000, None])
def test_healthy_machines_stay_absent_however_many_unloads_of_one_driver(unloads: int | None) -> None:
    for frees in ((40, 150), (30_000, 60_000)):
        assert state(machine_pool(living=(24, 116), freed=frees), ring(total=unloads)) == "absent"


def test_healthy_counts_and_a_whole_number_by_accident_are_absent() -> None:
    assert state(machine_pool(living=(50, 100)), ring(total=50)) == "absent"


def test_nothing_counted_is_unknown_not_absent() -> None:
    assert state(Pool(), ring()) == "unknown"
    assert state(Pool(), Drivers()) == "unknown"


def test_small_numbers_from_a_small_part_of_the_pool_are_unknown() -> None:
    assert state(machine_pool(source="pages", coverage=0.2), ring()) == "unknown"
    walked = machine_pool(source="pages", coverage=0.9)
    blind = Pool(tags=walked.tags, coverage=Coverage())
    assert state(blind, ring()) == "unknown"


def test_large_numbers_from_a_small_part_of_the_pool_are_enough() -> None:
    assert state(machine_pool(30_000, 60_000, source="pages", coverage=0.2), ring()) == "present"


def test_a_missing_processors_table_makes_small_numbers_unknown_and_leaves_large_ones() -> None:
    assert state(machine_pool(tracker=0.5), ring()) == "unknown"
    assert state(machine_pool(9000, 18_000, tracker=0.5), ring()) == "present"


def test_counts_that_went_into_the_overflow_slot_are_unknown() -> None:
    pool = machine_pool(20_000, 20_000)  # the PnP row is there and leaks, the IoSe row found no slot
    others = tuple(row for row in pool.tags if row.tag != "IoSe")
    spilt = use("Ovfl", "paged", 50_000, 1000, 6_000_000)
    assert state(Pool(tags=others, coverage=Coverage(tracker=1.0), overflow=spilt), ring()) == "unknown"
    empty = use("Ovfl", "paged", 0, 0, 0)
    assert state(Pool(tags=others, coverage=Coverage(tracker=1.0), overflow=empty), ring()) == "absent"


def test_a_tag_without_a_row_was_never_used() -> None:
    pool = machine_pool(20_000, 0)
    without = Pool(tags=tuple(row for row in pool.tags if row.tag != "Pp  "), coverage=Coverage(tracker=1.0))
    assert state(without, ring()) == "absent"


def test_big_allocations_found_by_a_walk_are_counted_in() -> None:
    from dumpscan.model import BigUse, PoolUse, TagUse

    part = PoolUse(outstanding=700, bytes=100_000, big=BigUse(600, 600 * 4096))
    pool = Pool(tags=(TagUse("Pp  ", part, PoolUse(), "pages"),), coverage=Coverage(paged_pages=1.0))
    seen = Observation(pool, Drivers())
    assert seen.outstanding("Pp  ").shown == 1300
    assert seen.bytes("Pp  ").shown == 100_000 + 600 * 4096


def test_evidence_carries_value_threshold_and_place() -> None:
    pool = machine_pool(13_000, 26_000)
    where = {"IoSe": "PoolTrackTable 0x8055c600 row 77", "unloads": "MiTotalUnloads 0x80554034"}
    result = evaluate(builtin_signature(), pool, ring(total=13_000), where)
    evidence = {item.id: item for item in result.evidence}
    found = evidence["iose-outstanding"]
    assert (found.outcome, found.value, found.threshold) == ("supports", 13_023, 500)
    assert found.where == "PoolTrackTable 0x8055c600 row 77"
    assert "13,023" in found.text and "500" in found.text
    assert evidence["iose-per-unload"].outcome == "supports"
    assert "MiTotalUnloads 0x80554034" in evidence["iose-per-unload"].where
    assert evidence["pp-outstanding"].where == "tracker"


def test_contradiction_and_ignorance_are_told_apart() -> None:
    found = outcomes(evaluate(builtin_signature(), machine_pool(), QUIET))
    assert found["iose-outstanding"] == "contradicts"
    assert found["iose-per-unload"] == "unknown"
    assert found["share"] == "neutral"


def test_relatives_are_listed_apart() -> None:
    result = evaluate(builtin_signature(), machine_pool(20_000, 20_000), ring())
    assert [row.tag for row in result.related] == ["PpDe"]


def test_the_explanation_tree_holds_every_answer() -> None:
    pool = machine_pool(20_000, 0)
    found = match(builtin_signature(), Observation(pool, ring()), {})
    tree = found.trees["present"]
    assert tree.label == "all" and tree.truth is False
    assert {child.label: child.truth for child in tree.children[:2]} == {
        "iose-outstanding": True,
        "pp-outstanding": False,
    }


@pytest.mark.parametrize(
    ("blocks", "unit", "expected"),
    [
        (1000, 1000, 1),
        (2030, 1000, 2),
        (3100, 1000, 3),
        (900, 1000, 1),
        (890, 1000, None),
        (2500, 1000, None),
    ],
)
def test_whole_number_of_blocks_with_a_base_of_living_ones(
    blocks: int, unit: int, expected: int | None
) -> None:
    # band for k: k * 1000 - 100 .. k * 1000 + 100 (base) + 100
    assert whole_number(blocks, unit, most=10, baseline=100, tolerance=0.1) == expected


def test_whole_number_has_an_upper_end() -> None:
    assert whole_number(11_000, 1000, most=10, baseline=100, tolerance=0.1) is None


def test_a_lower_bound_of_unloads_cites_the_ring() -> None:
    found = evaluate(builtin_signature(), machine_pool(13_000, 26_000), ring(), {"ring": "MmUnloadedDrivers"})
    assert {e.where for e in found.evidence if e.id == "unloads"} == {"MmUnloadedDrivers"}


def test_the_same_sentence_is_told_once() -> None:
    texts = [evidence.text for evidence in evaluate(builtin_signature(), Pool(), Drivers()).evidence]
    assert len(texts) == len(set(texts))
    assert texts[0] == "the count of IoSe could not be read"
