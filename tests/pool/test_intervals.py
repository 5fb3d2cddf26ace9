"""The statistics of a sample: tables of quantiles, and populations whose totals are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dumpscan.pool.intervals import Stratum, estimate, gamma_quantile, student, unseen_pages
from dumpscan.pool.sample import allot, choose

Pages = NDArray[np.float64]

# Chi-squared quantiles of printed tables: degrees of freedom, 2.5 %, 97.5 %. Half of them are gamma's.
CHI_SQUARED = [
    (1, 0.000982, 5.024), (2, 0.0506, 7.378), (4, 0.484, 11.143), (10, 3.247, 20.483),
    (20, 9.591, 34.170), (60, 40.482, 83.298), (100, 74.222, 129.561),
]  # fmt: skip


@pytest.mark.parametrize(("freedom", "low", "high"), CHI_SQUARED)
def test_gamma_quantiles(freedom: int, low: float, high: float) -> None:
    shape = np.array([freedom / 2])
    assert 2 * gamma_quantile(shape, 0.025)[0] == pytest.approx(low, rel=0.005)
    assert 2 * gamma_quantile(shape, 0.975)[0] == pytest.approx(high, rel=0.005)


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.776), (10, 2.228), (30, 2.042), (120, 1.980)])
def test_quantiles_of_student(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=0.005)


@pytest.mark.parametrize(("pages", "taken"), [(1000, 100), (250, 64), (91345, 2048), (40, 39)])
def test_what_a_sample_can_miss_is_the_hypergeometric_bound(pages: int, taken: int) -> None:
    def missed(holding: int) -> float:
        return math.comb(pages - holding, taken) / math.comb(pages, taken)

    exact = next(n for n in range(pages) if missed(n + 1) < 0.025)
    found = unseen_pages([(pages, taken)])
    assert exact <= found <= exact * 1.25 + 1


def test_nothing_is_missed_where_all_was_read() -> None:
    assert unseen_pages([(100, 100), (30, 30)]) == 0
    assert unseen_pages([]) == 0


def test_a_stratum_that_was_read_whole_adds_no_doubt() -> None:
    whole = Stratum(3, 3, np.array([9.0]), np.array([41.0]), np.array([200.0]))
    found = estimate([whole], 1)
    assert (found.value[0], found.low[0], found.high[0]) == (9, 9, 9)


def test_the_lower_end_is_at_least_what_was_seen() -> None:
    one = Stratum(10_000, 100, np.array([3.0]), np.array([9.0]), np.array([26.0]))
    found = estimate([one], 1)
    assert found.value[0] == 300
    assert 3 <= found.low[0] < 300 < found.high[0]


def population(kind: str, pages: int) -> Pages:
    """Blocks of one tag on each page of a pool."""
    dice = np.random.default_rng([pages, len(kind)])
    full = 26
    kinds: dict[str, Callable[[], NDArray[Any]]] = {
        "on every page": lambda: dice.poisson(3, pages),
        "on some pages": lambda: dice.poisson(0.3, pages),
        "on few pages": lambda: dice.poisson(0.01, pages),
        "full pages of its own": lambda: np.where(dice.random(pages) < 0.05, full, 0),
        "few full pages": lambda: np.where(dice.random(pages) < 0.005, full, 0),
        # What defeats bounds that go by the pages seen: the sample shows single blocks only.
        "few full pages among single blocks": lambda: np.where(
            dice.random(pages) < 0.002, full, dice.random(pages) < 0.1
        ),
        "clusters of all sizes": lambda: np.where(dice.random(pages) < 0.02, dice.geometric(0.1, pages), 0),
    }
    return kinds[kind]().astype(np.float64)


KINDS = [
    "on every page", "on some pages", "on few pages", "full pages of its own", "few full pages",
    "few full pages among single blocks", "clusters of all sizes",
]  # fmt: skip


@pytest.mark.parametrize(("pages", "taken"), [(250, 64), (2500, 256), (40_000, 2048)])
@pytest.mark.parametrize("kind", KINDS)
def test_coverage(kind: str, pages: int, taken: int) -> None:
    """400 draws from one pool, whose plain sum is the truth; a standard error is 0.01."""
    held = population(kind, pages)
    drawn = np.array([held[choose(pages, taken, seed)] for seed in range(400)])
    full = np.full(400, 26.0)
    found = estimate([Stratum(pages, taken, drawn.sum(1), (drawn**2).sum(1), full)], 400)
    inside = (found.low <= held.sum()) & (held.sum() <= found.high)
    unseen = drawn.sum(1) == 0
    inside[unseen] = (held > 0).sum() <= unseen_pages([(pages, taken)])
    assert inside.mean() >= 0.93


def test_strata_of_different_kind_are_drawn_from_apart() -> None:
    """A tag that fills the pages of a small stratum and is nearly absent from a large one."""
    dice = np.random.default_rng(7)
    strata = [(dice.poisson(20, 300).astype(float), 60), (dice.poisson(0.02, 5000).astype(float), 400)]
    truth = sum(float(held.sum()) for held, _ in strata)
    inside = 0
    for seed in range(300):
        sums = []
        for number, (held, taken) in enumerate(strata):
            seen = held[choose(len(held), taken, 1000 * number + seed)]
            total, squares = np.array([seen.sum()]), np.array([(seen**2).sum()])
            sums.append(Stratum(len(held), taken, total, squares, np.array([30.0])))
        found = estimate(sums, 1)
        inside += int(found.low[0] <= truth <= found.high[0])
    assert inside / 300 >= 0.93


# -- the draw -------------------------------------------------------------------------------------


def test_every_page_is_as_likely_as_any_other() -> None:
    hits = np.zeros(50, int)
    for seed in range(4000):
        chosen = choose(50, 10, seed)
        assert len(set(chosen.tolist())) == 10
        hits[chosen] += 1
    # 800 expected, standard deviation 25.3: five of them on either side.
    assert hits.min() > 670
    assert hits.max() < 930


def test_pairs_of_neighbours_are_as_likely_as_other_pairs() -> None:
    """Without replacement from 50: each pair comes with probability 10 * 9 / (50 * 49)."""
    together = np.zeros(49)
    for seed in range(4000):
        chosen = np.isin(np.arange(50), choose(50, 10, seed))
        together += chosen[:-1] & chosen[1:]
    assert together.sum() / (49 * 4000) == pytest.approx(90 / 2450, rel=0.05)


def test_all_are_chosen_where_there_are_no_more() -> None:
    assert choose(5, 9, 1).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("sizes", [[1000, 10], [5000, 5000, 1], [33, 40, 60_000], [300]])
def test_pages_are_allotted_in_proportion_and_none_goes_without(sizes: list[int]) -> None:
    given = allot(sizes, 256)
    assert 256 - len(sizes) <= sum(given) <= 256
    assert all(min(2, size) <= n <= size for n, size in zip(given, sizes, strict=True))
    assert allot(sizes, sum(sizes)) == sizes


def test_no_strata() -> None:
    assert allot([], 256) == []
