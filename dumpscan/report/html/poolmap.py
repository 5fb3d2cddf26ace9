"""The map of a pool: a square for each cell, in the order of addresses, coloured by what it holds.

The one chart that is scaled as a picture (it has no text of its own): addresses stand beside it.
Squares of one colour are one path, so that ten thousand of them stay small.
"""

from __future__ import annotations

import re

from markupsafe import Markup

from dumpscan.model_pictures import MapSegment, PoolMap
from dumpscan.report import figures
from dumpscan.report.html import parts
from dumpscan.report.html.svg import element

COLUMNS = 128
_GAP = 2

_STATES = {
    "&": ("together", ""),
    "o": ("other", "other tags"),
    "-": ("free", "free blocks only"),
    "?": ("unread", "no small blocks: large allocations that no table lists"),
    "p": ("away", "paged out"),
    "x": ("absent", "not in the image"),
}


def pool_map(given: PoolMap, signature: tuple[str, ...]) -> Markup:
    """The figure of one pool with its legend."""
    cell = figures.size(given.pages_per_cell * given.page_size)
    row = figures.size(given.pages_per_cell * given.page_size * COLUMNS)
    title = f"{given.pool.capitalize()} pool by address"
    size = f"One square is {cell}, one row {row}, from the lowest address to the highest."
    left_out = f" {given.omitted:,} scattered pages are left out." if given.omitted else ""
    names = _names(given, signature)
    words = "; ".join(f"{text}: {given.pages[sign]:,}" for sign, _, text in names)
    picture = _picture(given, f"{title}. {size} Pages: {words}")
    legend = parts.legend((colour, f"{text} · {given.pages[sign]:,}") for sign, colour, text in names)
    where = f"{_addresses(given.segments)}. {size}{left_out} The legend counts pages."
    return parts.figure(title, picture, text=where, legend=legend)


def _names(given: PoolMap, signature: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(sign, colour class, text) of every sign that occurs: tags, then states."""
    found = []
    for index, (sign, tag) in enumerate(given.tags.items()):
        if given.pages.get(sign):
            found.append((sign, f"c{index}", figures.tag(tag)))
    for sign, (colour, text) in _STATES.items():
        if given.pages.get(sign):
            together = " and ".join(figures.tag(tag) for tag in signature)
            entry = (sign, colour, text or f"{together} together")
            found.insert(0, entry) if sign == "&" else found.append(entry)
    return found


def _addresses(segments: tuple[MapSegment, ...]) -> str:
    if len(segments) == 1:
        return f"From {segments[0].start}"
    starts = ", ".join(segment.start for segment in segments[:6])
    more = f" and {len(segments) - 6} more" if len(segments) > 6 else ""
    return f"{len(segments)} stretches, from {starts}{more}"


def _picture(given: PoolMap, text: str) -> Markup:
    paths: dict[str, list[str]] = {}
    top = 0
    for segment in given.segments:
        _add(segment.cells, top, paths)
        top += -(-len(segment.cells) // COLUMNS) + _GAP
    colours = {sign: f"c{index}" for index, sign in enumerate(given.tags)}
    colours |= {sign: colour for sign, (colour, _) in _STATES.items()}
    drawn = [element("path", class_=colours[sign], d="".join(runs)) for sign, runs in paths.items()]
    return element(
        "svg", *drawn, class_="map", role="img", aria_label=text, shape_rendering="crispEdges",
        viewBox=f"0 0 {COLUMNS} {max(top - _GAP, 1)}",
    )


def _add(cells: str, top: int, paths: dict[str, list[str]]) -> None:
    """Add the runs of equal cells of each row to the path of their sign."""
    for row in range(0, len(cells), COLUMNS):
        for run in re.finditer(r"([^.])\1*", cells[row : row + COLUMNS]):
            width = run.end() - run.start()
            corner = f"M{run.start()} {top + row // COLUMNS}"
            paths.setdefault(run[1], []).append(f"{corner}h{width}v1h-{width}z")
