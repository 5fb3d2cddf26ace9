"""Times of images: parsed, ordered, and as hours on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from dumpscan.model import Machine, Verdict


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 time in UTC; None for None or what is no time."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def text(when: datetime) -> str:
    """ISO 8601 to the second, ending in Z."""
    return when.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def boot_time(machine: Machine) -> datetime | None:
    """System time minus uptime; None where one is unknown or no clock shows the result."""
    when = moment(machine.system_time)
    if when is None or machine.uptime_seconds is None:
        return None
    return moved(when, -machine.uptime_seconds)


def moved(when: datetime, seconds: float) -> datetime | None:
    """The time so many seconds later; None beyond the years 1 to 9999 (times are read from images)."""
    try:
        return when + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None


def in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """By system time; images without one stay last, by uptime, then as given."""
    latest = datetime.max.replace(tzinfo=timezone.utc)

    def key(verdict: Verdict) -> tuple[datetime, float]:
        uptime = verdict.machine.uptime_seconds
        return moment(verdict.machine.system_time) or latest, float("inf") if uptime is None else uptime

    return sorted(verdicts, key=key)


def hours(verdicts: Sequence[Verdict]) -> list[float] | None:
    """Hours since the first image, by uptime (which nobody sets), else by system time; None without
    either, when time goes back, or when none passes from the first to the last."""
    uptimes = [verdict.machine.uptime_seconds for verdict in verdicts]
    times = [moment(verdict.machine.system_time) for verdict in verdicts]
    if all(uptime is not None for uptime in uptimes):
        seconds = [(uptime or 0) - (uptimes[0] or 0) for uptime in uptimes]
    elif all(time is not None for time in times):
        seconds = [(time - times[0]).total_seconds() for time in times if time and times[0]]
    else:
        return None
    if not seconds[-1] or any(later < earlier for earlier, later in pairwise(seconds)):
        return None
    return [second / 3600 for second in seconds]
