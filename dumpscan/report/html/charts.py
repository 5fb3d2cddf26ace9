"""Charts as inline SVG: bars, columns, curves, a timeline of events, a gauge.

Every chart is an image with a title and a description for screen readers; what it shows also stands
in a table on the same page. Positions across are percentages (text keeps its size at any width),
positions down are pixels. Colours are classes of the page's style sheet; so is ``plot``, whose padding
holds what stands beside a plot (labels of the y axis), at any width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from markupsafe import Markup

from dumpscan.report import figures
from dumpscan.report.html.svg import across, element, number, shown, ticks, time_ticks

_MARK = "◆ "


class Bar(NamedTuple):
    """One horizontal bar; ``marked`` sets it apart by colour and by a sign before its label."""

    label: str
    value: float
    text: str
    marked: bool = False
    colour: str = "bar"


class Stack(NamedTuple):
    """One column: its label and a value for each series."""

    label: str
    values: Sequence[float]


class Event(NamedTuple):
    """Something that happened in a lane of a timeline."""

    lane: str
    time: datetime


class Curve(NamedTuple):
    """(x, y) points, joined by a line unless ``joined`` is False; ``fitted`` draws it dashed and
    without dots."""

    name: str
    points: Sequence[tuple[float, float]]
    fitted: bool = False
    joined: bool = True


def chart(title: str, text: str, height: float, *content: object, style: str | None = None) -> Markup:
    """The picture around a chart's elements. ``text`` is what a screen reader tells."""
    return element(
        "svg", *content, class_=style, role="img", aria_label=f"{title}: {text}", width="100%", height=height
    )


def gauge(title: str, share: float | None, text: str, tone: str) -> Markup:
    """How full something is: a bar on a track with its limit at the right end."""
    filled = min(max(share or 0.0, 0.0), 1.0)
    return chart(
        title,
        text,
        30,
        element("rect", class_="track", x=0, y=2, width="100%", height=26, rx=6),
        element("rect", class_=tone or "bar", x=0, y=2, width=across(filled), height=26, rx=6)
        if filled
        else "",
    )


_ROW = 26
_LABELS, _LONGEST = 0.235, 0.39


def bars(
    title: str, rows: Sequence[Bar], text: str, *, labels: float = _LABELS, longest: float = _LONGEST,
    font: str = "mono",
) -> Markup:
    """Horizontal bars, each with its label and value. ``labels`` and ``longest`` are the shares of the
    width that labels and the longest bar take; ``font`` is the labels' class."""
    largest = max((row.value for row in rows), default=0.0) or 1.0
    drawn: list[Markup] = []
    for index, row in enumerate(rows):
        top = index * _ROW
        length = longest * max(row.value, 0) / largest
        colour = row.colour
        strong = " strong" if row.marked else ""
        label = shown((_MARK if row.marked else "") + row.label)
        style = f"{font}{strong}".strip() or None
        drawn += [
            element("text", label, class_=style, x=across(labels), dx=-10, y=top + 17,
                    text_anchor="end"),
            element("rect", class_=colour, x=across(labels), y=top + 3, width=across(max(length, 0.002)),
                    height=_ROW - 8, rx=2),
            element("text", row.text, class_=strong.strip() or None, x=across(labels + length), dx=8,
                    y=top + 17),
        ]
    return chart(title, text, max(len(rows), 1) * _ROW, *drawn)


_PLOT_TOP, _PLOT_HEIGHT = 22, 200
_LABEL_ROOM = 0.022
"""Share of a plot's width that a letter takes on a narrow screen."""
_SERIES = tuple(f"c{index}" for index in range(10))


def columns(
    title: str, stacks: Sequence[Stack], text: str, *, axis: str, unit: str,
    colours: Sequence[str] = _SERIES,
) -> Markup:
    """Stacked columns over labels (a histogram). ``axis`` names the labels, ``unit`` the values;
    ``colours`` are the classes of the series."""
    scale = ticks(max((sum(stack.values) for stack in stacks), default=0.0))
    parts = [*_grid(scale.values, scale.top, figures.count), _unit(unit)]
    slot = 1 / max(len(stacks), 1)
    width = min(slot * 0.72, 0.1)
    labelled = _labelled(stacks)
    for index, stack in enumerate(stacks):
        centre = slot * (index + 0.5)
        parts += _column(stack, centre - width / 2, width, scale.top, colours)
        if index in labelled:
            parts.append(
                element("text", stack.label, class_="quiet", x=across(centre), y=_base() + 17,
                        text_anchor="middle")
            )
    parts.append(
        element("text", axis, class_="quiet", x="100%", y=_base() + 36, text_anchor="end")
    )
    return chart(title, text, _base() + 44, *parts, style="plot")


def _labelled(stacks: Sequence[Stack]) -> set[int]:
    """Which columns are labelled where there is no room for all: the highest first."""
    slot = 1 / max(len(stacks), 1)
    room = [_LABEL_ROOM * (len(stack.label) + 2) / 2 for stack in stacks]
    chosen: set[int] = set()
    for index in sorted(range(len(stacks)), key=lambda at: (-sum(stacks[at].values), at)):
        if all(abs(index - other) * slot >= room[index] + room[other] for other in chosen):
            chosen.add(index)
    return chosen


def _column(stack: Stack, left: float, width: float, top: float, colours: Sequence[str]) -> list[Markup]:
    parts, under = [], float(_base())
    for colour, value in zip(colours, stack.values, strict=False):
        if value <= 0:
            continue
        high = max(_PLOT_HEIGHT * value / top, 1.5)
        under -= high
        hover = element("title", f"{stack.label}: {figures.count(int(value))}")
        parts.append(
            element("rect", hover, class_=colour, x=across(left), y=under, width=across(width), height=high)
        )
    return parts


def _base() -> int:
    return _PLOT_TOP + _PLOT_HEIGHT


def _grid(values: Sequence[float], top: float, text: Callable[[int], str]) -> list[Markup]:
    """Horizontal rules with their values at the left."""
    parts = []
    for value in values:
        y = _base() - _PLOT_HEIGHT * value / top
        parts += [
            element("line", class_="rule" if value else "axis", x1=0, x2="100%", y1=y, y2=y),
            element("text", text(int(value)), class_="quiet", x=0, dx=-8, y=y + 4, text_anchor="end"),
        ]
    return parts


def _unit(unit: str) -> Markup:
    return element("text", unit, class_="quiet", x=0, dx=-8, y=8, text_anchor="start")


def curves(
    title: str,
    lines: Sequence[Curve],
    text: str,
    *,
    unit: str,
    x_ticks: Sequence[tuple[float, str]],
    x_range: tuple[float, float],
    limit: tuple[float, str] | None = None,
    value: Callable[[int], str] = figures.count,
    base: int = 10,
) -> Markup:
    """Lines over a common x axis. ``limit`` is a horizontal line with its name (a pool's maximum);
    ``value`` words the y labels, ``base`` 2 rounds them to binary sizes. Curves take the colours c0,
    c1 ... in order; a fitted one shares the colour of the curve before it."""
    highest = max((y for line in lines for _, y in line.points), default=0.0)
    scale = ticks(max(highest, limit[0] if limit else 0.0), base=base)
    first, last = x_range
    span = (last - first) or 1.0

    def x(at: float) -> float:
        return (at - first) / span

    def y(at: float) -> float:
        return 1 - at / scale.top

    parts = [*_grid(scale.values, scale.top, value), _unit(unit)]
    parts += _x_axis([(x(at), label) for at, label in x_ticks])
    drawn: list[Markup] = []
    dots: list[Markup] = []
    colour = -1
    for line in lines:
        colour += 0 if line.fitted and colour >= 0 else 1
        path = "M" + "L".join(f"{number(1000 * x(a))} {number(1000 * y(b))}" for a, b in line.points)
        style = f"line c{colour % 10}{' forecast' if line.fitted else ''}"
        if line.joined:
            drawn.append(element("path", element("title", line.name), class_=style, d=path))
        if not line.fitted:
            dots += [_dot(x(a), y(b), colour, f"{line.name}: {value(int(b))}") for a, b in line.points]
    if limit is not None:
        high = number(1000 * y(limit[0]))
        drawn.append(element("path", class_="line dashed", d=f"M0 {high}H1000"))
        dots.append(
            element("text", limit[1], class_="quiet", x="100%", y=_PLOT_TOP + _PLOT_HEIGHT * y(limit[0]) - 5,
                    text_anchor="end")
        )
    plot = element(
        "svg", *drawn, x=0, y=_PLOT_TOP, width="100%", height=_PLOT_HEIGHT,
        viewBox="0 0 1000 1000", preserveAspectRatio="none", overflow="visible",
    )
    return chart(title, text, _base() + 30, *parts, plot, *dots, style="plot")


def _dot(x: float, y: float, colour: int, text: str) -> Markup:
    return element(
        "circle", element("title", text), class_=f"c{colour % 10}", r=4, cx=across(x),
        cy=_PLOT_TOP + _PLOT_HEIGHT * y,
    )


def _x_axis(marks: Sequence[tuple[float, str]]) -> list[Markup]:
    parts = []
    for share, label in marks:
        x = across(share)
        anchor = "start" if share < 0.05 else ("end" if share > 0.95 else "middle")
        parts += [
            element("line", class_="axis", x1=x, x2=x, y1=_base(), y2=_base() + 5),
            element("text", label, class_="quiet", x=x, y=_base() + 19, text_anchor=anchor),
        ]
    return parts


_LANE = 46


def timeline(
    title: str, events: Sequence[Event], text: str, *, lanes: Sequence[tuple[str, str]], marked: str = ""
) -> Markup:
    """Events as strokes on a lane each. ``lanes`` are (key, label) from top to bottom; events of
    other lanes are left out. ``marked`` is the lane to set apart."""
    times = [event.time for event in events]
    first, last = min(times), max(times)
    span = max((last - first).total_seconds(), 1.0)

    def x(at: datetime) -> float:
        return 0.01 + 0.98 * (at - first).total_seconds() / span

    bottom = len(lanes) * _LANE
    parts: list[Markup] = []
    for at, label in time_ticks(first, last):
        anchor = "start" if x(at) < 0.06 else ("end" if x(at) > 0.94 else "middle")
        parts += [
            element("line", class_="rule", x1=across(x(at)), x2=across(x(at)), y1=0, y2=bottom + 4),
            element("text", label, class_="quiet", x=across(x(at)), y=bottom + 20, text_anchor=anchor),
        ]
    for index, (key, label) in enumerate(lanes):
        top = index * _LANE
        colour = "c0" if key == marked else "bar"
        parts.append(element("text", label, class_="strong" if key == marked else None, x=0, y=top + 15))
        parts.append(element("line", class_="axis", x1=0, x2="100%", y1=top + 40, y2=top + 40))
        parts += [
            element("rect", class_=colour, x=across(x(event.time)), y=top + 21, width=3, height=18, rx=1)
            for event in events
            if event.lane == key
        ]
    return chart(title, text, bottom + 26, *parts)
