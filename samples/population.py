"""How many blocks of which tag live in the pools, and how many came and went since boot.

The counts here are the only source of the truth file: nothing is read back from the image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .contents import iose_content, pp_contents
from .layouts import Layout
from .options import Options
from .ram import MB
from .tags import TagInfo, background

POOLS: Final = ("nonpaged", "paged")
LEAKING: Final = ("leak", "early", "unexpected", "no-tagging")


@dataclass(frozen=True)
class Lot:
    """`count` blocks of one tag and request size."""

    tag: str
    size: int
    count: int
    protected: bool = False
    quota: float = 0.0
    content: int = -1  # index into Population.contents, -1: filler
    leak: bool = False


@dataclass(frozen=True)
class Big:
    """One allocation of whole pages."""

    tag: str
    pages: int
    name: str = ""  # a table of the writer's own, looked up after placement
    protected: bool = False
    slack: int = 0  # bytes that the request fell short of the last page


@dataclass
class PoolPlan:
    """What goes into one pool."""

    lots: list[Lot] = field(default_factory=list)
    bigs: list[Big] = field(default_factory=list)


@dataclass
class Population:
    """Both pools, block contents, and lifetime frees by (tag, pool)."""

    plans: dict[str, PoolPlan]
    contents: list[bytes]
    frees: dict[tuple[str, str], int]
    leak_items: list[dict[str, object]]


def block_units(size: NDArray[np.int64] | int, layout: Layout) -> NDArray[np.int64] | int:
    """Request -> block size in units, header included."""
    header = layout.unit
    return (size + header + layout.unit - 1) // layout.unit


def big_threshold(layout: Layout) -> int:
    """Requests above this get whole pages: facts/pool-algorithms.md section 4."""
    return layout.page - 2 * layout.unit


def _targets(options: Options, leak_bytes: dict[str, int]) -> dict[str, int]:
    """Background bytes by pool."""
    if options.pool_mb is not None:
        total = options.pool_mb * MB
        total /= 1.2  # headers, ends of pages and gaps come on top
        paged = int(total * 0.8 / max(1 - options.paged_out * 0.75, 0.1))
        return {"paged": max(paged - leak_bytes["paged"], MB // 2), "nonpaged": int(total * 0.2)}
    ram = options.ram_mb * MB
    paged = min(max(int(ram * 0.03), MB // 2), 12 * MB)
    nonpaged = min(max(int(ram * 0.02), MB // 3), 8 * MB)
    return {"paged": paged, "nonpaged": nonpaged}


def _background(
    plan: PoolPlan, pool: str, infos: list[TagInfo], target: int, page: int, rng: np.random.Generator
) -> None:
    """Fill one pool: four fifths in small blocks, the rest in large allocations."""
    weights = np.array([info.weight for info in infos], dtype=float) * rng.uniform(0.6, 1.6, len(infos))
    means = np.array([np.mean(info.sizes) + 12 for info in infos])
    scale = target * 0.8 / float((weights * means).sum())
    for info, weight in zip(infos, weights, strict=True):
        count = max(1, int(weight * scale))
        shares = rng.multinomial(count, [1 / len(info.sizes)] * len(info.sizes))
        for size, share in zip(info.sizes, shares, strict=True):
            if share:
                plan.lots.append(Lot(info.tag, size, int(share), info.protected, 0.3 if info.quota else 0.0))
    heavy = [info for info in infos if info.big]
    left = int(target * 0.2) // page
    while left > 0:
        info = heavy[int(rng.integers(len(heavy)))]
        pages = min(int(rng.geometric(0.25)), 24, left)
        plan.bigs.append(
            Big(info.tag, pages, protected=info.protected, slack=int(rng.integers(0, 2040)) & ~7)
        )
        left -= pages


def _leak_lots(options: Options) -> tuple[list[tuple[str, Lot]], list[bytes]]:
    """(pool, lot) of everything that a cycle leaves behind, with the block contents."""
    cycles = options.unload_cycles
    lots: list[tuple[str, Lot]] = []
    contents = [
        iose_content(options.iose_content),
        *pp_contents(options.driver, max(options.pp_per_cycle, 1)),
    ]
    if options.scenario in (*LEAKING, "only-iose") and options.iose_per_cycle:
        size = len(contents[0])
        lots.append(("paged", Lot("IoSe", size, cycles * options.iose_per_cycle, content=0, leak=True)))
    if options.scenario in (*LEAKING, "only-pp"):
        for number in range(options.pp_per_cycle):
            content = contents[1 + number]
            lots.append(("paged", Lot("Pp  ", len(content) + 2, cycles, content=1 + number, leak=True)))
    if options.scenario == "other-tag":
        lots.append((options.other_pool, Lot(options.other_tag, options.other_size, cycles, leak=True)))
    return lots, contents


# Objects that live as long as a driver is loaded come and go with every cycle (facts/tags.md section 3).
_CYCLED: Final = (
    ("Driv", "nonpaged", 1),
    ("Devi", "nonpaged", 1),
    ("MmLd", "nonpaged", 2),
    ("MmDT", "paged", 2),
    ("Io  ", "nonpaged", 2),
    ("ObNm", "paged", 3),
    ("ObDi", "paged", 2),
    ("Symb", "paged", 1),
    ("CMkb", "paged", 1),
)


def _lifetime_frees(options: Options, infos: tuple[TagInfo, ...], population: Population) -> None:
    rng = options.stream("frees")
    frees = population.frees
    live: dict[tuple[str, str], int] = {}
    for pool in POOLS:
        for lot in population.plans[pool].lots:
            live[lot.tag, pool] = live.get((lot.tag, pool), 0) + (0 if lot.leak else lot.count)
        for big in population.plans[pool].bigs:
            live[big.tag, pool] = live.get((big.tag, pool), 0) + 1
    churn = {info.tag: info.churn for info in infos}
    share = options.uptime / 31000
    for key, count in live.items():
        frees[key] = int(count * churn.get(key[0], 0) * share * rng.uniform(0.05, 0.4))
    for tag, pool, count in _CYCLED:
        frees[tag, pool] = frees.get((tag, pool), 0) + options.unload_cycles * count
    early = options.scenario == "early"
    frees["IoSe", "paged"] = 2 if early else int(rng.integers(200, 700))
    frees["Pp  ", "paged"] = 5 if early else int(rng.integers(80, 300))
    frees["Pp  ", "nonpaged"] = int(rng.integers(300, 900))
    if options.scenario not in (*LEAKING, "only-iose"):
        frees["IoSe", "paged"] += options.unload_cycles * options.iose_per_cycle
    if options.scenario not in (*LEAKING, "only-pp"):
        frees["Pp  ", "paged"] += options.unload_cycles * options.pp_per_cycle


def populate(options: Options, layout: Layout) -> Population:
    """Decide what is allocated in the whole machine, the writer's own tables left out."""
    leaks, contents = _leak_lots(options)
    leak_bytes = dict.fromkeys(POOLS, 0)
    for pool, lot in leaks:
        leak_bytes[pool] += int(block_units(lot.size, layout)) * layout.unit * lot.count
    infos = background(layout.nt)
    targets = _targets(options, leak_bytes)
    plans = {pool: PoolPlan() for pool in POOLS}
    for pool in POOLS:
        mine = [info for info in infos if info.pools in (pool[0], "b")]
        _background(plans[pool], pool, mine, targets[pool], layout.page, options.stream(f"background {pool}"))
    rng = options.stream("few")
    plans["paged"].lots += [
        Lot("IoSe", 108, int(rng.integers(18, 26)), content=-1),
        Lot("IoSe", 140, int(rng.integers(2, 6))),
        Lot("Pp  ", 48, int(rng.integers(60, 90))),
        Lot("Pp  ", 116, int(rng.integers(40, 60))),
        Lot("PpEE", 200, int(rng.integers(2, 5))),
        Lot("Ppsu", 60, int(rng.integers(1, 5))),
    ]
    for pool, lot in leaks:
        if lot.size > big_threshold(layout):
            pages = -(-lot.size // layout.page)
            plans[pool].bigs += [Big(lot.tag, pages, slack=(-lot.size) % layout.page & ~7)] * lot.count
        else:
            plans[pool].lots.append(lot)
    items: list[dict[str, object]] = [
        {
            "tag": lot.tag,
            "allocs": lot.count // max(options.unload_cycles, 1),
            "request_bytes": lot.size,
            "block_bytes": int(block_units(lot.size, layout)) * layout.unit,
        }
        for _, lot in leaks
    ]
    population = Population(plans, contents, {}, items)
    _lifetime_frees(options, infos, population)
    return population
