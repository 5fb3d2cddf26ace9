"""Blocks on a colour terminal, through rich. Imported only when standard output is a terminal.

Lines are wrapped by :mod:`dumpscan.report.plain`, which keeps the blanks of tags together; rich
styles them and lays out the tables. Every text is a rich ``Text``: markup in it is not obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from dumpscan.report import plain
from dumpscan.report.blocks import Block, Facts, Headline, Items, Paragraph, Table
from dumpscan.report.safe import printable

_TONES = {"good": "bold green", "bad": "bold red", "unsure": "bold yellow"}
_MARKS = {"+": "red", "-": "green", "?": "yellow", "!": "bold red"}
_LABEL = 10


def write(blocks: Iterable[Block], stream: TextIO, width: int | None = None) -> None:
    """Print the blocks as wide as the terminal, or ``width`` columns."""
    console = Console(file=stream, width=width, highlight=False, emoji=False, markup=False)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        if isinstance(block, Table):
            console.print(_table(block))
        else:
            for line in _lines(block, max(console.width, 40)):
                console.print(line, no_wrap=True, overflow="fold", crop=False)


def _lines(block: Block, width: int) -> list[Text]:
    if isinstance(block, Headline):
        return [Text(line, style=_TONES.get(block.tone, "bold")) for line in plain.wrap(block.text, width)]
    if isinstance(block, Facts):
        return [line for label, text in block.rows for line in _labelled(label, text, width)]
    if isinstance(block, Items):
        rows = [line for row in block.rows for line in _item(row, width)]
        return [Text(printable(block.title), style="bold"), *rows]
    assert isinstance(block, Paragraph)
    lines = plain.hang("  ", block.text, width)
    return [Text(printable(block.title), style="bold"), *(Text(line) for line in lines)]


def _labelled(label: str, text: str, width: int) -> list[Text]:
    lines = [Text(line) for line in plain.hang(label.ljust(_LABEL), text, width)]
    lines[0].stylize("bold", 0, _LABEL)
    return lines


def _item(row: tuple[str, str, str], width: int) -> list[Text]:
    mark, text, origin = row
    sentence = f"{text} [{origin}]" if origin else text
    lines = [Text(line) for line in plain.hang(f"  {mark or ' '} ", sentence, width)]
    lines[0].stylize(_MARKS.get(mark, ""), 0, 4)
    return lines


def _table(block: Table) -> Grid:
    title = Text(printable(block.title), style="bold") if block.title else None
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=True, header_style="dim")
    for head, number in block.columns:
        grid.add_column(head, justify="right" if number else "left", no_wrap=True)
    for index, row in enumerate(block.rows):
        style = "bold red" if index in block.marked else ""
        grid.add_row(*(Text(printable(cell), style=style) for cell in row))
    return grid
