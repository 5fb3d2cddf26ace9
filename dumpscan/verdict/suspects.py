"""Who else is to blame: tags that hold or gather more of a pool than is usual for them.

What is usual is data with its rationale (``tags.toml``): file cache, registry and file system tags
are large on a healthy machine. A share alone names no culprit below a megabyte, and growth (many
blocks, hardly any freed) can be judged only where lifetime counters exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from dumpscan.model import Drivers, Pool, PoolUse, Suspect, TagUse
from dumpscan.verdict import words
from dumpscan.verdict.data import HERE, read_toml, refuse_unknown
from dumpscan.verdict.observe import Observation, live
from dumpscan.verdict.rules import Threshold
from dumpscan.verdict.signature import whole_number

_MOST_PER_UNLOAD = 10
_PER_UNLOAD_TOLERANCE = 0.1


class KnownTag(NamedTuple):
    """A glob over tags, what it stands for, its usual share, and its own growth threshold if any."""

    match: str
    meaning: str
    normal: float
    growth: int | None = None


class TagKnowledge(NamedTuple):
    """Content of ``tags.toml``."""

    known: tuple[KnownTag, ...]
    thresholds: Mapping[str, Threshold]

    def lookup(self, tag: str) -> KnownTag | None:
        """The first entry that matches, or None for a tag of no well-known owner."""
        return next((entry for entry in self.known if fnmatchcase(tag, entry.match)), None)


class Unlisted(NamedTuple):
    """Large allocations of one pool that no table lists. ``share`` is of the pool's used bytes."""

    pool: str
    blocks: int
    bytes: int
    share: float

    @property
    def text(self) -> str:
        """How much they are, as a clause."""
        return f"large allocations without a tag hold {words.percent(self.share)} of {self.pool} pool"


@lru_cache(maxsize=1)
def load_tags() -> TagKnowledge:
    """Return what is known about tags, read once per process."""
    raw = read_toml(HERE / "tags.toml")
    thresholds = {name: Threshold(name, **entry) for name, entry in raw["thresholds"].items()}
    return TagKnowledge(tuple(KnownTag(**entry) for entry in raw["tags"]), thresholds)


def limits(overrides: Mapping[str, float] | None = None) -> dict[str, float]:
    """Thresholds of this module by name, with a user's values in place.

    :raises UsageError: an unknown name.
    """
    values = {name: threshold.value for name, threshold in load_tags().thresholds.items()}
    refuse_unknown("thresholds of [suspects]", overrides or {}, values)
    return {**values, **(overrides or {})}


def find_suspects(
    pool: Pool,
    drivers: Drivers,
    explained: Iterable[str] = (),
    overrides: Mapping[str, float] | None = None,
) -> tuple[Suspect, ...]:
    """Return remarkable tags, the one with most bytes beyond its usual share first.

    ``explained`` are tags that a signature found in memory already accounts for.
    """
    seen, known, limit = Observation(pool, drivers), load_tags(), limits(overrides)
    ranked: list[tuple[float, Suspect]] = []
    in_use = {name: seen.used_bytes(name) for name in ("paged", "nonpaged")}
    least = min(limit["least_bytes"], limit["growth_bytes"])
    for use, name, part in _held(pool, set(explained)):
        if live(use, part)[1] < least:
            continue
        entry, used = known.lookup(use.tag), in_use[name]
        normal = entry.normal if entry else limit["unknown_share"]
        blocks, octets = live(use, part)
        why = _reason(entry, part, (blocks, octets), used, limit, normal)
        if why is not None:
            share = octets / used if used else None
            text = _describe(use, name, share, entry, why, seen)
            ranked.append((octets - normal * (used or 0), Suspect(use.tag, name, octets, share, text)))
    ranked.sort(key=lambda pair: -pair[0])
    return tuple(suspect for _, suspect in ranked[: int(limit["most_suspects"])])


def find_unlisted(
    seen: Observation, suspects: tuple[Suspect, ...], overrides: Mapping[str, float] | None = None
) -> Unlisted | None:
    """Return the pool whose large allocations without a tag hold most, if more than any suspect holds."""
    limit, found = limits(overrides), []
    for name, big in seen.pool.untracked.items():
        share = big.bytes / (seen.used_bytes(name) or big.bytes or 1)
        if big.bytes >= limit["least_bytes"] and share >= limit["unlisted_share"]:
            found.append(Unlisted(name, big.count, big.bytes, min(1.0, share)))
    most = max(found, key=lambda each: each.bytes, default=None)
    return None if most is None or (suspects and suspects[0].bytes >= most.bytes) else most


def find_full(seen: Observation, overrides: Mapping[str, float] | None = None) -> str | None:
    """Return the name of the fuller pool, if it is so full that allocations may fail."""
    fullness = {name: seen.fullness(name).shown or 0.0 for name in ("paged", "nonpaged")}
    fuller = max(fullness, key=lambda name: fullness[name])
    return fuller if fullness[fuller] >= limits(overrides)["full"] else None


def _held(pool: Pool, explained: set[str]) -> Iterator[tuple[TagUse, str, PoolUse]]:
    overflow = () if pool.overflow is None else (pool.overflow,)
    listed = {use.tag for use in pool.tags}
    for use in (*pool.tags, *(each for each in overflow if each.tag not in listed)):
        if use.tag not in explained:
            yield use, "paged", use.paged
            yield use, "nonpaged", use.nonpaged


def _reason(
    entry: KnownTag | None,
    part: PoolUse,
    held: tuple[int, int],
    used: int | None,
    limit: Mapping[str, Any],
    normal: float,
) -> str | None:
    blocks, octets = held
    freed = part.frees / part.allocs if part.allocs and part.frees is not None else None
    least = (entry.growth if entry else limit["growth_outstanding"]) or limit["growth_outstanding_known"]
    grows = freed is not None and freed <= limit["growth_freed"] and blocks >= least
    if grows and octets >= limit["growth_bytes"]:
        return f"{words.percent(freed or 0)} of its allocations were freed"
    if used and octets >= limit["least_bytes"] and octets / used > normal:
        return f"usual is up to {words.percent(normal)}"
    return None


def _describe(
    use: TagUse, pool: str, share: float | None, entry: KnownTag | None, why: str, seen: Observation
) -> str:
    part = use.nonpaged if pool == "nonpaged" else use.paged
    blocks, octets = live(use, part)
    holds = f"holds {words.size(octets)}"
    if share is not None:
        holds += f", {words.percent(share)} of {pool} pool in use"
    each = f", {words.count(round(octets / blocks))} bytes each" if blocks > 0 else ""
    text = f"{words.tag(use.tag)} {holds}: {words.count(blocks)} blocks outstanding{each}; {why}"
    text += (
        f" ({entry.meaning})" if entry else " (no well-known owner: look for the driver that uses the tag)"
    )
    return text + _per_unload(use, blocks, seen)


def _per_unload(use: TagUse, blocks: int, seen: Observation) -> str:
    unloads = seen.drivers.unloads_total
    if not unloads or unloads < 100 or use.source != "tracker":
        return ""
    number = whole_number(blocks, unloads, most=_MOST_PER_UNLOAD, baseline=0, tolerance=_PER_UNLOAD_TOLERANCE)
    return f"; {number} for each driver unload" if number else ""
