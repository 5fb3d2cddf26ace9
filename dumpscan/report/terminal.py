"""Blocks on a colour terminal, through rich. Imported only when standard output is a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from dumpscan.report.blocks import Block, Facts, Headline, Items, Paragraph, Table
from dumpscan.report.safe import printable

_TONES = {"good": "bold green", "bad": "bold red", "unsure": "bold yellow"}
_MARKS = {"+": "red", "-": "green", "?": "yellow"}


def write(blocks: Iterable[Block], stream: TextIO, width: int | None = None) -> None:
    """Print the blocks. Texts are rich ``Text`` objects: markup in them is not obeyed."""
    console = Console(file=stream, width=width, highlight=False, emoji=False, markup=False)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        _print(console, block)


def _print(console: Console, block: Block) -> None:
    if isinstance(block, Headline):
        console.print(Text(printable(block.text), style=_TONES.get(block.tone, "bold")))
    elif isinstance(block, Facts):
        console.print(_facts(block))
    elif isinstance(block, Table):
        console.print(_table(block))
    elif isinstance(block, Items):
        console.print(Text(printable(block.title), style="bold"))
        console.print(_items(block))
    elif isinstance(block, Paragraph):
        console.print(Text(printable(block.title), style="bold"))
        console.print(Padding(Text(printable(block.text)), (0, 0, 0, 2)))


def _facts(block: Facts) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", min_width=8, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in block.rows:
        grid.add_row(Text(printable(label)), Text(printable(text)))
    return grid


def _table(block: Table) -> Grid:
    title = Text(printable(block.title), style="bold") if block.title else None
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=True, header_style="dim")
    for head, number in block.columns:
        grid.add_column(head, justify="right" if number else "left", no_wrap=True)
    for index, row in enumerate(block.rows):
        style = "bold red" if index in block.marked else ""
        grid.add_row(*(Text(printable(cell), style=style) for cell in row))
    return grid


def _items(block: Items) -> Grid:
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=3, justify="right")
    grid.add_column(overflow="fold")
    for mark, text, origin in block.rows:
        sentence = Text(printable(text))
        if origin:
            sentence.append(f" [{printable(origin)}]", style="dim")
        grid.add_row(Text(mark, style=_MARKS.get(mark, "")), sentence)
    return grid
