"""What the store keeps of a verdict in columns of its own: what people filter, sort and count by.

Each name here is a column of the table ``results``; ``top_tags`` and ``suspects`` are JSON arrays of
tags, blanks included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dumpscan.model import Drivers, PoolLimits, TagUse, Verdict

_TOP = 5


def columns(verdict: Verdict) -> dict[str, Any]:
    """Column name to value; None is unknown."""
    kernel, pool, fix = verdict.kernel, verdict.pool, verdict.fix
    suspect = verdict.suspects[0] if verdict.suspects else None
    found: dict[str, Any] = {
        "verdict": verdict.verdict.code,
        "summary": verdict.verdict.summary,
        "signature_state": verdict.signature.state,
        "fix_state": fix.state,
        "fixed_version": fix.fixed_version,
        "product": kernel.product,
        "service_pack": kernel.service_pack,
        "version": kernel.version,
        "branch": kernel.branch,
        "arch": kernel.arch,
        "pae": kernel.pae,
        "bugcheck": verdict.machine.bugcheck.name if verdict.machine.bugcheck else None,
        "system_time": verdict.machine.system_time,
        "uptime_seconds": verdict.machine.uptime_seconds,
        "tagging": pool.tagging,
        "paged_bytes": pool.paged.used_bytes,
        "paged_fullness": _fullness(pool.paged),
        "nonpaged_bytes": pool.nonpaged.used_bytes,
        "nonpaged_fullness": _fullness(pool.nonpaged),
        "unloads": verdict.drivers.unloads_total,
        "unloaded_most": _unloaded_most(verdict.drivers),
        "top_tags": json.dumps(_largest(pool.tags)),
        "suspect": suspect.tag if suspect else None,
        "suspect_share": suspect.share if suspect else None,
        "suspects": json.dumps([each.tag for each in verdict.suspects]),
        "truncated": verdict.image.truncated,
    }
    return {name: storable(value) for name, value in found.items()}


def storable(value: Any) -> Any:
    """``value`` as SQLite takes it: text from memory may hold half a character, numbers be too wide."""
    if isinstance(value, str):
        return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return None
    return value


def _fullness(limits: PoolLimits) -> float | None:
    if limits.fullness is not None or limits.used_bytes is None or not limits.limit_bytes:
        return limits.fullness
    return limits.used_bytes / limits.limit_bytes


def _unloaded_most(drivers: Drivers) -> str | None:
    return max(drivers.recent, key=lambda entry: entry.count).name if drivers.recent else None


def _largest(tags: Iterable[TagUse]) -> list[str]:
    return [use.tag for use in sorted(tags, key=_bytes, reverse=True)[:_TOP]]


def _bytes(use: TagUse) -> int:
    """Bytes in both pools. A tracker's figure holds the large allocations, a walk's does not."""
    parts = (use.paged, use.nonpaged)
    big = sum(part.big.bytes for part in parts if part.big) if use.source != "tracker" else 0
    return sum(part.bytes for part in parts) + big
