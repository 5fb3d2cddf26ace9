"""FILETIME (100 ns units since 1601, UTC) to text, and back to seconds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1601, 1, 1, tzinfo=timezone.utc)
_LATEST = 2650467743990000000
"""FILETIME of the year 9999, beyond which datetime cannot go."""


def filetime_text(value: int) -> str | None:
    """ISO 8601 text ending in Z; None for 0 or a value no clock shows."""
    if not 0 < value <= _LATEST:
        return None
    moment = _EPOCH + timedelta(microseconds=value // 10)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
