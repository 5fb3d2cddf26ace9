"""``dumpscan allocations``: single pool blocks, and with ``--extract`` what is in them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from dumpscan.cli.common import TAG_HELP, image_options, open_for, pagefile_option, pool_option
from dumpscan.cli.output import emit
from dumpscan.errors import UnsupportedImage

if TYPE_CHECKING:
    from dumpscan.case import Case
    from dumpscan.pool.allocations import Filter


class Block(NamedTuple):
    """One allocation. ``bytes`` with the block's ``header`` bytes; ``state`` of its (first) page."""

    address: int
    tag: str
    pool: str
    bytes: int
    kind: str
    state: str
    header: int


COLUMNS = Block._fields[:-1]


@click.command("allocations")
@image_options
@click.option("--tag", "tags", multiple=True, metavar="GLOB", help=TAG_HELP)
@pool_option
@pagefile_option
@click.option("--big", is_flag=True, help="Only allocations of a page and more.")
@click.option(
    "--min-size", type=click.IntRange(min=0), default=0, metavar="N", help="Only blocks of at least N bytes."
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the N largest, the largest first; otherwise all, as they are found.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "jsonl", "csv"]), default="table", show_default=True
)
@click.option(
    "--extract",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write the content of each listed block to a file in DIR (new or empty), and an index.csv.",
)
def command(
    image: Path,
    output: Path | None,
    quiet: bool,
    symbols: tuple[Path, ...],
    page_files: tuple[Path, ...],
    tags: tuple[str, ...],
    pool: str | None,
    big: bool,
    min_size: int,
    top: int | None,
    form: str,
    extract: Path | None,
) -> None:
    """List the pool blocks in use that IMAGE holds: address, tag, size.

    A block in a page that is not in the image cannot be listed.
    """
    from dumpscan.pool.allocations import Filter
    from dumpscan.report import table

    wanted = Filter(tags, min_size, pool, big or None)
    with open_for(image, quiet=quiet, symbols=symbols, output=output, page_files=page_files) as case:
        _say_what_is_left_out(case, wanted)
        _say_what_is_experimental(case)
        found = _largest(_blocks(case, wanted), top)
        if extract is not None:
            from dumpscan.cli.extract import extract_blocks

            found = iter(extract_blocks(case.kernel, found, extract))
        rows = ({**block._asdict(), "address": hex(block.address)} for block in found)
        emit(table.render_rows(rows, COLUMNS, form), output)


def _say_what_is_left_out(case: Case, wanted: Filter) -> None:
    layout = case.kernel.layout
    if layout is None or layout.unwalkable is None or wanted.big:
        return
    what = "only allocations of a page and more are listed"
    click.echo(f"dumpscan: note: {layout.unwalkable}; {what}", err=True)
    if not case.kernel.symbols:
        for note in case.kernel.info.notes:
            click.echo(f"dumpscan: note: {note}", err=True)


def _say_what_is_experimental(case: Case) -> None:
    """The rows have no place for notes."""
    for note in case.kernel.info.notes if case.kernel.info.arch == "ia64" else ():
        click.echo(f"dumpscan: note: {note}", err=True)


def _blocks(case: Case, wanted: Filter) -> Iterator[Block]:
    """Blocks as the walk meets them. :raises UnsupportedImage: this kernel's layouts are not known."""
    from dumpscan.memory.c_pte import PageState
    from dumpscan.pool.allocations import allocations

    kernel = case.kernel
    if kernel.layout is None:
        what = kernel.info.product or "this Windows"
        raise UnsupportedImage(
            f"{case.info.path}: the pool layouts of {what} (build {kernel.info.build}) are not known; "
            "its allocations cannot be listed"
        )
    progress, done = case.options.progress, 0
    for batch in allocations(kernel, wanted):
        kind = "big" if batch.big else "small"
        rows = zip(
            batch.va.tolist(),
            batch.names(),
            ["paged" if paged else "nonpaged" for paged in batch.paged.tolist()],
            batch.size.tolist(),
            [kind] * len(batch.va),
            [PageState(state).name.lower().replace("_", "-") for state in batch.state.tolist()],
            [batch.header] * len(batch.va),
            strict=True,
        )
        yield from map(Block._make, rows)
        done += len(batch.va)
        if progress is not None:
            progress(f"{done:,} allocations", done, 0)


def _largest(blocks: Iterator[Block], top: int | None) -> Iterator[Block]:
    """The ``top`` largest blocks, or all in the order of the walk. Holds no more than ``top``."""
    if top is None:
        return blocks
    return iter(heapq.nsmallest(top, blocks, key=lambda block: (-block.bytes, block.address)))
