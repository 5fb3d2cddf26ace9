"""Blocks as plain text, wrapped to a width. Imports nothing: piped output must start at once."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from dumpscan.report.blocks import Block, Facts, Headline, Items, Table
from dumpscan.report.safe import printable

_LABEL = 10
_QUOTED_TAG = re.compile(r"'[^']{4}'")
_HELD = "\xa0"  # printable() leaves none of its own, and textwrap does not break at it


def render(blocks: Iterable[Block], width: int = 80) -> str:
    """Return the blocks as text without any control sequence, line breaks aside."""
    return "\n\n".join("\n".join(_lines(block, max(width, 40))) for block in blocks) + "\n"


def _lines(block: Block, width: int) -> list[str]:
    if isinstance(block, Headline):
        return wrap(block.text, width)
    if isinstance(block, Facts):
        return [line for label, text in block.rows for line in hang(label.ljust(_LABEL), text, width)]
    if isinstance(block, Table):
        return table_lines(block, width)
    if isinstance(block, Items):
        return [block.title, *(line for row in block.rows for line in _item(row, width))]
    return [block.title, *hang("  ", block.text, width)]


def wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Wrap untrusted text. A quoted tag (``'Pp  '``) is never broken, its blanks count."""
    whole = _QUOTED_TAG.sub(lambda tag: tag[0].replace(" ", _HELD), printable(text))
    lines = textwrap.wrap(
        whole,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )
    return [line.replace(_HELD, " ") for line in lines] or [first.rstrip()]


def hang(label: str, text: str, width: int) -> list[str]:
    """Wrap with a label in front and the following lines indented under the text."""
    return wrap(text, width, label, " " * len(label))


def _item(row: tuple[str, str, str], width: int) -> list[str]:
    mark, text, origin = row
    return hang(f"  {mark or ' '} ", f"{text} [{origin}]" if origin else text, width)


def table_lines(table: Table, width: int) -> list[str]:
    """Columns as wide as their content; lines beyond ``width`` are cut, the tag column never."""
    rows = [tuple(printable(cell) for cell in row) for row in table.rows]
    heads = [name for name, _ in table.columns]
    widths = [max([len(head), *(len(row[i]) for row in rows)]) for i, head in enumerate(heads)]
    lines = [table.title] if table.title else []
    for row in [tuple(heads), *rows]:
        cells = [
            cell.rjust(widths[i]) if table.columns[i][1] else cell.ljust(widths[i])
            for i, cell in enumerate(row)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip()[:width])
    return lines
