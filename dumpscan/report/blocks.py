"""The parts that a report is made of, free of any output format: facts, tables, marked items."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Headline:
    """The one line that answers. ``tone`` is good, bad or unsure."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Labelled lines: (label, text); an empty label continues the one above."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns are (heading, is_number). ``marked`` are indexes of rows to stand out."""

    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Items:
    """Marked sentences: (mark, text, origin). Marks: + supports, - contradicts, ? unknown, blank."""

    title: str
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A titled text."""

    title: str
    text: str


Block = Headline | Facts | Table | Items | Paragraph
