"""``dumpscan pools``: pool figures by tag, as PoolMon would have shown them."""

from __future__ import annotations

from pathlib import Path

import click

from dumpscan.cli.common import TAG_HELP, image_options, open_for, pagefile_option, pool_option
from dumpscan.cli.output import emit


@click.command("pools")
@image_options
@click.option("--tag", "tags", multiple=True, metavar="GLOB", help=TAG_HELP)
@pool_option
@pagefile_option
@click.option(
    "--source",
    type=click.Choice(["auto", "tracker", "pages", "sample"]),
    default="auto",
    show_default=True,
    help="tracker: the kernel's tables; pages: a walk of every pool page; "
    "sample: a random sample of them, with 95 % intervals; auto: the tables where there "
    "are any, else the walk.",
)
@click.option(
    "--sort",
    type=click.Choice(["bytes", "outstanding", "allocs", "frees", "tag"]),
    default="bytes",
    show_default=True,
    help="Order: by a figure, the largest first, or by tag.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="A table; a document by tag (dumpscan.pools/1); or a line for each tag and pool.",
)
def command(
    image: Path,
    output: Path | None,
    quiet: bool,
    symbols: tuple[Path, ...],
    page_files: tuple[Path, ...],
    tags: tuple[str, ...],
    pool: str | None,
    source: str,
    sort: str,
    top: int | None,
    form: str,
) -> None:
    """Show what each pool tag of IMAGE holds: allocations, frees, outstanding, bytes."""
    from dumpscan.pool.tags import tag_matcher
    from dumpscan.report import select, table

    choice = select.Choice(tag_matcher(tags), pool, sort, top)
    with open_for(image, quiet=quiet, symbols=symbols, output=output, page_files=page_files) as case:
        pools = case.pools(source)
    if not pools.tags and not quiet:
        why = "; ".join(pools.notes) or f"the image holds none from {source}"
        click.echo(f"dumpscan: note: no figures by tag: {why}", err=True)
    rows = None if form == "json" else select.rows(pools, choice)
    emit([table.render_pools(select.tags(pools, choice), form, rows=rows)], output)
