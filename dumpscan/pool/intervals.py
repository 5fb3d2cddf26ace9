"""95 % intervals for totals over many pages, from a random sample of them.

What makes pool pages hard: a tag lies on few pages or on all, once on a page or a hundred times, so
that a normal or t interval of a rare tag covers far less than it says (it ends at zero blocks too
often), and bounds that always hold (Bernstein, Hoeffding) are too wide to be of use. Here a total
is a sum of weighted events (a page that holds the tag; its weight is how much of it), for which the
gamma interval of Fay and Feuer (Statistics in Medicine 16, 1997, 791-801) keeps its level: the
first two moments of the estimate are matched, and the upper end allows for one further page. That
page is taken to be full of the tag's blocks, not just as heavy as those seen: a leak fills pages of
its own, and the sample may have hit none of them but only the tag's few blocks elsewhere. For tags
on every page it becomes the normal interval. The variance is the design's own: stratified, without
replacement. Student's t interval is taken in as well where it is wider.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64

F64 = NDArray[np.float64]

TAIL = 0.025
"""Probability on either side of an interval."""

_NORMAL = 1.959963984540054
_BISECTIONS = 40
_SERIES_UP_TO = 30.0


class Stratum(NamedTuple):
    """Sums over the sampled pages of one stratum; arrays have one element per thing counted.

    ``pages`` in the stratum, ``taken`` of them were read; ``total`` and ``squares`` are the sum and the
    sum of squares of the counts on the pages read, ``heaviest`` the most that a page not read may hold.
    """

    pages: int
    taken: int
    total: F64
    squares: F64
    heaviest: F64


class Estimate(NamedTuple):
    """Totals over all pages: estimate and 95 % interval, never below what was seen."""

    value: I64
    low: I64
    high: I64


def estimate(strata: list[Stratum], size: int) -> Estimate:
    """Estimate ``size`` totals from samples of strata. Each stratum with pages has some read, more
    than one unless it has but one. Where all pages were read the interval has no width."""
    value, variance, one_more, seen = (np.zeros(size) for _ in range(4))
    freedom = 0
    for each in strata:
        if not each.taken:
            continue
        factor = each.pages / each.taken
        left = 1 - each.taken / each.pages
        value += factor * each.total
        seen += each.total
        if left > 0:
            spread = np.maximum(each.squares - each.total**2 / each.taken, 0) / max(each.taken - 1, 1)
            variance += factor * factor * each.taken * left * spread
            one_more = np.maximum(one_more, factor * each.heaviest * math.sqrt(left))
            freedom += each.taken - 1
    low, high = _gamma_interval(value, variance, one_more)
    half = student(freedom) * np.sqrt(variance)
    low, high = np.minimum(low, value - half), np.maximum(high, value + half)
    fixed = one_more == 0
    low[fixed], high[fixed] = value[fixed], value[fixed]
    floor = seen.astype(np.int64)
    rounded = np.maximum(np.rint(value).astype(np.int64), floor)
    return Estimate(
        rounded,
        np.minimum(np.maximum(np.floor(low).astype(np.int64), floor), rounded),
        np.maximum(np.ceil(high).astype(np.int64), rounded),
    )


def unseen_pages(strata: list[tuple[int, int]]) -> int:
    """Pages that may hold something that no page read holds: ``strata`` are (pages, pages read).

    The largest number for which missing all of them has a probability of 2.5 % or more, were they all
    in the stratum that was sampled most thinly ("rule of three", 3.7 at this level).
    """
    left = sum(pages - taken for pages, taken in strata)
    shares = [taken / pages for pages, taken in strata if taken < pages]
    if not shares:
        return 0
    thinnest = min(shares)
    return left if thinnest <= 0 else min(left, math.floor(math.log(TAIL) / math.log1p(-thinnest)))


def _gamma_interval(value: F64, variance: F64, one_more: F64) -> tuple[F64, F64]:
    """Fay and Feuer's interval; for elements without variance it is the value alone."""
    low, high = value.copy(), value.copy()
    varied = (variance > 0) & (value > 0)
    mean, spread = value[varied], variance[varied]
    low[varied] = spread / mean * gamma_quantile(mean**2 / spread, TAIL)
    heavier, wider = value + one_more, variance + one_more**2
    known = wider > 0
    mean, spread = heavier[known], wider[known]
    high[known] = spread / mean * gamma_quantile(mean**2 / spread, 1 - TAIL)
    return low, high


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t, by its expansion in 1 / freedom (error below 0.5 % from 4 on)."""
    if freedom < 1:
        return _NORMAL
    z, n = _NORMAL, float(freedom)
    first = (z**3 + z) / (4 * n)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    return z + first + second + third


def gamma_quantile(shape: F64, probability: float) -> F64:
    """Quantiles of gamma distributions with scale 1, for ``probability`` :data:`TAIL` or 1 - TAIL.

    Wilson and Hilferty's cube from a shape of 30 on (error below 0.1 %), else by bisection.
    """
    z = -_NORMAL if probability < 0.5 else _NORMAL
    found: F64 = shape * (1 - 1 / (9 * shape) + z / (3 * np.sqrt(shape))) ** 3
    small = shape < _SERIES_UP_TO
    if bool(small.any()):
        found[small] = _bisected(shape[small], probability)
    return found


def _bisected(shape: F64, probability: float) -> F64:
    low, high = np.zeros(len(shape)), shape + 8 * np.sqrt(shape) + 8
    scale = np.array([math.lgamma(a + 1) for a in shape.tolist()])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = _gamma_share(shape, middle, scale) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: F64 = (low + high) / 2
    return found


def _gamma_share(shape: F64, x: F64, scale: F64) -> F64:
    """The regularised incomplete gamma function by its series; ``scale`` is lgamma(shape + 1)."""
    term: Any = np.ones(len(shape))
    total = term.copy()
    for step in range(1, 400):
        term = term * x / (shape + step)
        total += term
        if float(term.max()) < 1e-9:
            break
    with np.errstate(divide="ignore"):
        share: F64 = np.exp(shape * np.log(x) - x - scale) * total
    return share
