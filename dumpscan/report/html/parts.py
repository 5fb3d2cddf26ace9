"""Building blocks of a section as markup: tables, facts, notes, figures with their alternatives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from dumpscan.report.html.page import template
from dumpscan.report.html.svg import shown


class Column(NamedTuple):
    """``kind``: text, long (broken anywhere: paths), number, short (never broken), code (monospaced) or
    choice (filtered by its values).

    ``minor`` columns are left out on a narrow screen; ``hint`` explains the heading.
    """

    title: str
    kind: str = "text"
    minor: bool = False
    hint: str = ""


class Cell(NamedTuple):
    """``order`` is what the column is sorted by where that is not the text; None is unknown."""

    text: str | Markup
    order: float | int | str | None = None
    link: str | None = None
    tone: str = ""


class Table(NamedTuple):
    """A data table. ``marked`` are indexes of rows to stand out; ``tools`` adds sorting and a filter;
    ``stacked`` turns rows into cards on a narrow screen (for tables of sentences)."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]]
    marked: Collection[int] = ()
    tools: bool = False
    stacked: bool = False
    id: str = ""
    mark: str = "signature"
    limit: int = 0
    """Rows shown at a time by the table's tools; 0 for all."""


def table(given: Table) -> Markup:
    """A table with caption and headers."""
    choices = {
        index: sorted({_cell(row[index]).text for row in given.rows})
        for index, column in enumerate(given.columns)
        if column.kind == "choice" and given.tools
    }
    return _macro("table", given, _rows(given), choices)


def _rows(given: Table) -> Markup:
    """The table's body. By hand: a template takes ten times as long for thousands of cells."""
    heads = ["td" if given.stacked or index else "th" for index in range(len(given.columns))]
    opens = [_open(head, column, given.stacked) for head, column in zip(heads, given.columns, strict=True)]
    lines = []
    for number, row in enumerate(given.rows):
        mark = f' class="{given.mark}"' if number in given.marked else ""
        lines.append(f'<tr{mark} role="row">' if given.stacked else f"<tr{mark}>")
        for (start, kind), head, value in zip(opens, heads, row, strict=True):
            if isinstance(value, str):
                lines.append(f"{start}{kind}>{shown(value)}</{head}>")
            else:
                lines.append(f"{start}{_attributes(kind, value)}>{_inner(value)}</{head}>")
        lines.append("</tr>\n")
    return Markup("".join(lines))


def _open(head: str, column: Column, stacked: bool) -> tuple[str, str]:
    """The start of a column's cells, and their class attribute."""
    start = f'<{head} scope="row"' if head == "th" else f"<{head}"
    if stacked:
        start += f' role="cell" data-label="{shown(column.title)}"'
    names = " ".join(name for name in (column.kind, "minor" * column.minor) if name and name != "text")
    return start, f' class="{names}"' if names else ""


def _attributes(kind: str, cell: Cell) -> str:
    if cell.tone:
        kind = f'{kind[:-1]} {cell.tone}"' if kind else f' class="{cell.tone}"'
    return kind if cell.order is None else f'{kind} data-v="{shown(cell.order)}"'


def _inner(cell: Cell) -> Markup:
    if cell.link is None:
        return shown(cell.text)
    return Markup('<a href="{}">{}</a>').format(shown(cell.link), shown(cell.text))


def _cell(value: Cell | str) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def facts(rows: Iterable[tuple[str, str | Markup]]) -> Markup:
    """Labelled values as a description list; an empty label continues the one above."""
    grouped: list[tuple[str, list[str | Markup]]] = []
    for label, text in rows:
        if label or not grouped:
            grouped.append((label, []))
        grouped[-1][1].append(text)
    return _macro("facts", grouped)


def figure(title: str, picture: Markup, *, text: str = "", legend: Markup | str = "") -> Markup:
    """A chart with its heading; ``text`` says in words what is to be seen."""
    return _macro("figure", title, picture, text, legend)


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Colour keys: (class of the swatch, text)."""
    return _macro("legend", list(entries))


def card(title: str, body: Markup) -> Markup:
    """A titled box; several stand side by side in :func:`columns`."""
    return _macro("card", title, body)


def columns(*boxes: Markup) -> Markup:
    """Boxes side by side where there is room."""
    return _macro("columns", boxes)


def paragraph(text: str | Markup, tone: str = "") -> Markup:
    """A sentence or more; ``tone`` quiet, bad, good, unsure or none."""
    return _macro("paragraph", text, tone)


def folded(title: str, body: Markup) -> Markup:
    """Details that open on demand (and are printed as they stand)."""
    return _macro("folded", title, body)


def notes(lines: Iterable[str]) -> Markup:
    """Remarks as a list; nothing without any."""
    listed = list(lines)
    return _macro("notes", listed) if listed else Markup("")


def inline(text: str) -> Markup:
    """A line of untrusted text within a cell."""
    return Markup("<span>{}</span>").format(shown(text))


def tag(name: str) -> Markup:
    """A pool tag, its blanks visible: quoted where it holds any."""
    from dumpscan.report import figures

    return Markup('<code class="tag">{}</code>').format(shown(figures.tag(name)))


def joined(*parts: Markup) -> Markup:
    """Parts one after the other."""
    return Markup("\n").join(parts)


def _macro(name: str, *arguments: object) -> Markup:
    found = getattr(template("parts.html").module, name)
    return Markup(found(*arguments))
