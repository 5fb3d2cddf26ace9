"""The tracker's figures held against what lies in memory, tag by tag.

tracker bytes = blocks in resident pages + large allocations + blocks in pages that the image does
not hold (facts/pool-algorithms.md sections 5 and 6). A difference is explained by pages that are
away, as far as there are any, or it is shown; nothing is averaged away.
"""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.model import BigUse, PoolUse, Reconciliation, TagUse

_NONE = PoolUse()


def reconcile(
    tracked: tuple[TagUse, ...], walked: tuple[TagUse, ...], costs: Mapping[tuple[str, str], int],
    away: Mapping[str, int], page_size: int = 4096,
) -> tuple[Reconciliation, ...]:
    """One record per tag of either source, by tag.

    ``costs`` are bytes of whole pages of live large allocations by (tag, pool); ``away`` counts the
    pages of each pool that have content which the image does not hold.
    """
    missing = {name: count * page_size for name, count in away.items()}
    left, right = {use.tag: use for use in tracked}, {use.tag: use for use in walked}
    return tuple(
        _one(tag, left.get(tag), right.get(tag), costs, missing) for tag in sorted(left.keys() | right.keys())
    )


def _one(
    tag: str, tracked: TagUse | None, walked: TagUse | None, costs: Mapping[tuple[str, str], int],
    away: Mapping[str, int],
) -> Reconciliation:
    total = resident = big = unexplained = 0
    notes = []
    for name in ("paged", "nonpaged"):
        counted: PoolUse = getattr(tracked, name) if tracked else _NONE
        found: PoolUse = getattr(walked, name) if walked else _NONE
        large = _large(counted.bytes - found.bytes, found.big, costs.get((tag, name), 0))
        missing = counted.bytes - found.bytes - large
        total, resident, big = total + counted.bytes, resident + found.bytes, big + large
        if tracked is None or not missing:
            continue
        if 0 < missing <= away.get(name, 0):
            notes.append(f"{name}: {missing:,} bytes in pages that are not in the image")
        else:
            unexplained += missing
            notes.append(f"{name}: {_why(missing)}")
    if tracked is None:
        return Reconciliation(tag, None, resident, big, None, "not in the tracker table")
    return Reconciliation(tag, total, resident, big, unexplained, "; ".join(notes))


def _large(wanted: int, big: BigUse | None, cost: int) -> int:
    """Bytes of large allocations: as requested or as whole pages, whichever the tracker counts."""
    requested = big.bytes if big else 0
    return requested if abs(wanted - requested) < abs(wanted - cost) else cost


def _why(missing: int) -> str:
    if missing < 0:
        return f"memory holds {-missing:,} bytes more than the tracker says (image taken while running?)"
    return f"{missing:,} bytes of the tracker were not found"
