"""Numbers as people read them; unknown stays visible as a dash."""

from __future__ import annotations

from collections.abc import Callable

_LOPSIDED = 1.5


def count(value: int | None) -> str:
    """``13,023``; a dash for unknown."""
    return "-" if value is None else f"{value:,}"


def size(value: int | None) -> str:
    """Bytes in the largest fitting unit; a dash for unknown."""
    if value is None:
        return "-"
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(value) >= scale:
            return f"{value / scale:,.1f} {unit}"
    return f"{value} B"


def interval(value: int, low: int | None, high: int | None, shown: Callable[[int], str]) -> str:
    """Where the truth lies: ``± 800`` where both ends are about as far, else ``30 .. 8,582``.

    Empty for a figure that is no estimate.
    """
    if low is None or high is None:
        return ""
    below, above = value - low, high - value
    if max(below, above) <= _LOPSIDED * min(below, above):
        return f"± {shown(max(below, above))}"
    return f"{shown(low)} .. {shown(high)}" if low < high else "exact"


def percent(share: float | None) -> str:
    """``0.386`` as ``39 %``; a dash for unknown."""
    return "-" if share is None else f"{share * 100:.{0 if share >= 0.1 or share == 0 else 1}f} %"


def moment(time: str | None) -> str:
    """``2008-05-28T12:00:00Z`` as ``2008-05-28 12:00:00``; a dash for unknown."""
    return (time or "-").replace("T", " ").replace("Z", "")


def duration(seconds: float) -> str:
    """``31000`` as ``8 h 36 min``."""
    minutes = int(seconds // 60)
    days, hours = divmod(minutes // 60, 24)
    parts = [(days, "d"), (hours, "h"), (minutes % 60, "min")]
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or f"{seconds:.0f} s"


def tag(name: str) -> str:
    """A tag as it can be retyped: quoted where it holds blanks (``'Pp  '``)."""
    return f"'{name}'" if " " in name else name
