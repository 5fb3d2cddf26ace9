"""The parts that a report is made of, free of any output format: facts, tables, marked items."""

from __future__ import annotations

from typing import NamedTuple


class Headline(NamedTuple):
    """The one line that answers. ``tone`` is good, bad or unsure."""

    text: str
    tone: str


class Facts(NamedTuple):
    """Labelled lines: (label, text); an empty label continues the one above."""

    rows: tuple[tuple[str, str], ...]


class Table(NamedTuple):
    """Columns are (heading, is_number). ``marked`` are indexes of rows to stand out."""

    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()


class Items(NamedTuple):
    """Marked sentences: (mark, text, origin). Marks: + supports, - contradicts, ? unknown, blank."""

    title: str
    rows: tuple[tuple[str, str, str], ...]


class Paragraph(NamedTuple):
    """A titled text."""

    title: str
    text: str


Block = Headline | Facts | Table | Items | Paragraph
