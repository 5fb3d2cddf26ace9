"""SVG elements as markup, and the scales that charts share.

An element takes text, numbers and further markup; text is escaped, control characters are shown.
Attribute names: ``class_`` is ``class``, an underscore is a hyphen, None leaves the attribute out.
Only presentation attributes and classes are used: the reports' Content-Security-Policy forbids
style attributes.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import NamedTuple

from markupsafe import Markup, escape

from dumpscan.report.safe import printable

Value = str | int | float | None


_QUOTED_TAG = re.compile(r"'[^']{4}'")


def shown(text: object) -> Markup:
    """Untrusted text as markup: escaped, with control and direction characters visible.

    The blanks of a quoted tag (``'Pp  '``) are held together and never run into one.
    """
    if isinstance(text, Markup):
        return text
    plain = printable(str(text))
    if "'" in plain:
        plain = _QUOTED_TAG.sub(lambda tag: tag[0].replace(" ", "\xa0"), plain)
    return escape(plain)


def element(name: str, *content: object, **attributes: Value) -> Markup:
    """``element("rect", x="10%", class_="bar")`` as markup."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{shown(number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(shown(part) for part in content)
    return Markup(f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>")


def number(value: Value) -> Value:
    """A float with at most two decimals, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def across(share: float) -> str:
    """A share (0..1) of the chart's width as a percentage."""
    return f"{number(100.0 * share)}%"


class Ticks(NamedTuple):
    """Round values from zero (or the start) to ``top``, which is at least the largest value."""

    values: tuple[float, ...]
    top: float


def ticks(largest: float, most: int = 5, base: int = 10) -> Ticks:
    """At most ``most`` round steps from zero. ``base`` 2 gives round binary sizes (bytes).

    A step is 1, 2 or 5 times a power of ten; for bytes 1, 2, 4 ... so that labels are whole units.
    """
    if largest <= 0:
        return Ticks((0.0,), 1.0)
    rough = largest / most
    if base == 2:
        step = 2.0 ** math.ceil(math.log2(rough))
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(step, 1.0)  # there is no half of a block
    count = math.ceil(largest / step * 0.999)
    return Ticks(tuple(step * i for i in range(count + 1)), step * count)


_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    1, 5, 10, 30, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR,
    12 * _HOUR, _DAY, 2 * _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY,
)  # fmt: skip


def time_ticks(first: datetime, last: datetime, most: int = 5) -> list[tuple[datetime, str]]:
    """Round moments in ``[first, last]`` with their labels, at most about ``most``.

    Labels are times of the day; midnight, and days on a longer axis, are told by the date.
    """
    span = max((last - first).total_seconds(), 1.0)
    step = next((step for step in _STEPS if span / step <= most), span / most)
    day = first.replace(hour=0, minute=0, second=0, microsecond=0)
    clock = "%H:%M:%S" if step < _MINUTE else "%H:%M"
    days = "%d %b" if span < 300 * _DAY else "%b %Y"
    found: list[tuple[datetime, str]] = []
    try:
        at = day + timedelta(seconds=math.ceil((first - day).total_seconds() / step) * step)
        while at <= last and len(found) <= 2 * most:
            midnight = at.hour == at.minute == at.second == 0
            found.append((at, at.strftime(days if midnight or step >= _DAY else clock)))
            at += timedelta(seconds=step)
    except OverflowError:
        pass  # The year 9999 ends: an image may hold any time.
    return found
