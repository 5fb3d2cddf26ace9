"""What the image lets one say, as bounded numbers: the adapter between the records and the rules.

A count from a complete tracker is exact. A count from walking pages is a lower bound, one from a
sample of pages lies in its 95 % interval (and what is not in the image comes on top), and without a
part of the tracker's tables a count is no bound in either direction. The rules ask "at least?" and
"at most?" and get yes, no or unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dumpscan.model import Drivers, Interval, Pool, PoolLimits, PoolUse, SampledPool, TagUse

RING_SLOTS = 50  # entries of the unloaded-driver ring (facts/kernel-location.md section 3)
_COMPLETE = 0.9995
# Pages that are not in the image may hold more of a tag than the ones that are: blocks of one kind
# lie together and are paged out together. Half as much again is allowed for before saying "no".
_UNSEEN_ALLOWANCE = 1.5


class Bounds(NamedTuple):
    """``low <= truth <= high``; None is unbounded. ``shown`` is the figure to print."""

    low: float | None
    high: float | None
    shown: float | None

    def at_least(self, threshold: float) -> bool | None:
        """Whether the truth reaches ``threshold``; None when the image cannot say."""
        if self.low is not None and self.low >= threshold:
            return True
        return False if self.high is not None and self.high < threshold else None

    def at_most(self, threshold: float) -> bool | None:
        """Whether the truth stays at or below ``threshold``; None when the image cannot say."""
        if self.high is not None and self.high <= threshold:
            return True
        return False if self.low is not None and self.low > threshold else None


UNKNOWN = Bounds(None, None, None)


def exact(value: float | None) -> Bounds:
    """A number that is known, or nothing at all."""
    return Bounds(value, value, value)


class Observation:
    """Answers the questions of a signature from the result records of one image."""

    def __init__(self, pool: Pool, drivers: Drivers, minimum_coverage: float = 0.5) -> None:
        self.pool = pool
        self.drivers = drivers
        self.minimum_coverage = minimum_coverage
        self.by_tag = {use.tag: use for use in pool.tags}
        self._common_source = pool.tags[0].source if pool.tags else None

    # -- tags ----------------------------------------------------------------------------------

    def source(self, tag: str) -> str | None:
        """``tracker``, ``pages`` or ``sample``; for a tag without a row, what would have had it."""
        use = self.by_tag.get(tag)
        return use.source if use is not None else self._common_source

    def main_pool(self, tag: str, pool: str = "any") -> str:
        """The pool in which the tag has most outstanding, unless one is asked for."""
        use = self.by_tag.get(tag)
        if pool != "any" or use is None:
            return "paged" if pool == "any" else pool
        return "nonpaged" if live(use, use.nonpaged)[0] > live(use, use.paged)[0] else "paged"

    def use(self, tag: str, pool: str = "any") -> PoolUse | None:
        """Counters of a tag in one pool; zeros when the source has no row for it."""
        use = self.by_tag.get(tag)
        if use is not None:
            return use.nonpaged if self.main_pool(tag, pool) == "nonpaged" else use.paged
        return PoolUse(allocs=0, frees=0) if self._common_source is not None else None

    def outstanding(self, tag: str, pool: str = "any") -> Bounds:
        """Allocations not freed."""
        return self._bounded(tag, pool, 0)

    def bytes(self, tag: str, pool: str = "any") -> Bounds:
        """Bytes in allocations not freed."""
        return self._bounded(tag, pool, 1)

    def _bounded(self, tag: str, pool: str, index: int) -> Bounds:
        use = self.use(tag, pool)
        if use is None:
            return UNKNOWN
        value = max(0, live(self.by_tag.get(tag), use)[index])
        if self.source(tag) == "tracker":
            return Bounds(value, value if self._tracker_complete(tag, index) else None, value)
        chosen = self.main_pool(tag, pool)
        low, high = self._seen(use, chosen, value, index)
        seen = self.coverage(chosen)
        if seen is None or seen < self.minimum_coverage:
            return Bounds(low, None, value)
        return Bounds(low, high if seen >= _COMPLETE else high / seen * _UNSEEN_ALLOWANCE, value)

    def estimated(self, tag: str, pool: str = "any") -> tuple[int, int] | None:
        """95 % interval of the allocations in the image; None where they were counted."""
        use, chosen = self.use(tag, pool), self.main_pool(tag, pool)
        if use is None or self.sample(chosen) is None:
            return None
        return self._seen(use, chosen, live(self.by_tag.get(tag), use)[0], 0)

    def _seen(self, use: PoolUse, pool: str, value: int, index: int) -> tuple[int, int]:
        """What the pages in the image hold: ``value``, or the ends of its interval if it is estimated."""
        sample = self.sample(pool)
        if sample is None:
            return value, value
        large = value - (use.outstanding, use.bytes)[index]
        low, high = _ends(use.interval or sample.unseen, index)
        return low + large, high + large

    def sample(self, pool: str) -> SampledPool | None:
        """How much of a pool was sampled; None where its figures are no estimates."""
        sample = self.pool.sample.get(pool)
        return sample if sample is not None and sample.pages < sample.pages_held else None

    def coverage(self, pool: str) -> float | None:
        """Share of the pool's pages that the image holds."""
        covered = self.pool.coverage
        return covered.nonpaged_pages if pool == "nonpaged" else covered.paged_pages

    def _tracker_complete(self, tag: str, index: int) -> bool:
        covered = self.pool.coverage.tracker
        if covered is not None and covered < _COMPLETE:
            return False
        overflow = self.pool.overflow
        if tag in self.by_tag or overflow is None:
            return True
        # A tag that found no free row is counted in the overflow slot, together with others.
        spilt = (overflow.paged.outstanding, overflow.paged.bytes)[index]
        return spilt + (overflow.nonpaged.outstanding, overflow.nonpaged.bytes)[index] <= 0

    def freed(self, tag: str, pool: str = "any") -> Bounds:
        """Frees over allocations since boot: 0 is a pure leak, 1 is balanced. Trackers only."""
        use = self.use(tag, pool)
        if use is None or not use.allocs or use.frees is None or not self._tracker_complete(tag, 0):
            return UNKNOWN
        return exact(use.frees / use.allocs)

    def block_bytes(self, tag: str, pool: str = "any") -> Bounds:
        """Mean size of an outstanding allocation."""
        use = self.use(tag, pool)
        if use is None:
            return UNKNOWN
        blocks, octets = live(self.by_tag.get(tag), use)
        if blocks <= 0 or octets < 0:
            return UNKNOWN
        if use.interval is None:
            return exact(octets / blocks)
        count, size = self.outstanding(tag, pool), self.bytes(tag, pool)
        low = size.low / count.high if size.low is not None and count.high else None
        high = size.high / count.low if size.high is not None and count.low else None
        return Bounds(low, high, octets / blocks)

    def walked(self, tag: str) -> bool | None:
        """Whether the tag was counted by walking pages (no lifetime counters)."""
        source = self.source(tag)
        return None if source is None else source != "tracker"

    # -- pools ---------------------------------------------------------------------------------

    def limits(self, pool: str) -> PoolLimits:
        """Used and maximum bytes of a pool."""
        return self.pool.nonpaged if pool == "nonpaged" else self.pool.paged

    def used_bytes(self, pool: str) -> int | None:
        """Used bytes of a pool; when its totals are unreadable, the sum over all tags."""
        used = self.limits(pool).used_bytes
        if used:
            return used
        uses = [(use, use.nonpaged if pool == "nonpaged" else use.paged) for use in self.pool.tags]
        return sum(max(0, live(use, part)[1]) for use, part in uses) or None

    def share(self, tags: Iterable[str], pool: str = "any") -> Bounds:
        """Share of the used bytes that the tags hold together, in the first one's main pool."""
        tags = tuple(tags)
        chosen = self.main_pool(tags[0], pool)
        used = self.used_bytes(chosen)
        held = [self.bytes(tag, chosen) for tag in tags]
        if not used or any(part.low is None for part in held):
            return UNKNOWN
        low = sum(part.low or 0 for part in held) / used
        shown = min(1.0, sum(part.shown or 0 for part in held) / used)
        if any(part.high is None for part in held):
            return Bounds(low, None, shown)
        return Bounds(low, sum(part.high or 0 for part in held) / used, shown)

    def fullness(self, pool: str) -> Bounds:
        """Used over maximum."""
        limits = self.limits(pool)
        if limits.fullness is not None:
            return exact(limits.fullness)
        if limits.used_bytes is None or not limits.limit_bytes:
            return UNKNOWN
        return exact(limits.used_bytes / limits.limit_bytes)

    # -- drivers -------------------------------------------------------------------------------

    def ring_entries(self) -> int | None:
        """Filled slots of the unloaded-driver ring; None when it was not read."""
        named = sum(entry.count for entry in self.drivers.recent)
        if self.drivers.ring_entries is None and not named:
            return None
        return max(named, self.drivers.ring_entries or 0)

    def unloads(self) -> Bounds:
        """Driver unloads since boot; a full ring, or one with gaps, only gives a lower bound."""
        if self.drivers.unloads_total is not None:
            return exact(self.drivers.unloads_total)
        entries = self.ring_entries()
        if entries is None:
            return UNKNOWN
        more = entries >= RING_SLOTS or self.drivers.ring_complete is False
        return Bounds(entries, None if more else entries, entries)

    def most_unloaded(self) -> tuple[str, int] | None:
        """Name and count of the driver that the ring names most often."""
        if not self.drivers.recent:
            return None
        top = max(self.drivers.recent, key=lambda entry: entry.count)
        return top.name, top.count

    def repeats(self, least_entries: float) -> Bounds:
        """Share of the ring that one name fills; 0 when the ring is too empty to say "again"."""
        entries = self.ring_entries()
        if entries is None:
            return UNKNOWN
        top = self.most_unloaded()
        if top is None or entries < least_entries:
            return exact(0.0)
        return exact(top[1] / entries)


def _ends(interval: Interval, index: int) -> tuple[int, int]:
    if index == 0:
        return interval.outstanding_low, interval.outstanding_high
    return interval.bytes_low, interval.bytes_high


def live(use: TagUse | None, part: PoolUse) -> tuple[int, int]:
    """Outstanding allocations and bytes. A walk counts small blocks; its big ones are added here."""
    if use is None or use.source == "tracker" or part.big is None:
        return part.outstanding, part.bytes
    return part.outstanding + part.big.count, part.bytes + part.big.bytes
