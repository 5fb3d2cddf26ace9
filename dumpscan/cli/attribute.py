"""``dumpscan attribute``: what leaked blocks hold, and which driver that points to."""

from __future__ import annotations

from pathlib import Path

import click

from dumpscan.cli.common import TAG_HELP, contents_option, image_options, open_for, pagefile_option
from dumpscan.cli.output import emit


@click.command("attribute")
@image_options
@click.option("--tag", "tags", multiple=True, metavar="GLOB", help=TAG_HELP)
@pagefile_option
@contents_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    image: Path,
    output: Path | None,
    quiet: bool,
    symbols: tuple[Path, ...],
    page_files: tuple[Path, ...],
    tags: tuple[str, ...],
    contents: bool,
    form: str,
) -> None:
    """Group the pool blocks of IMAGE by content, decode them, and name the drivers behind them.

    Without --tag: the tags of KB950162, IoSe and 'Pp  '. Reads every resident block of these tags.
    """
    with open_for(
        image, quiet=quiet, symbols=symbols, output=output, contents=contents, page_files=page_files
    ) as case:
        report = case.attribution(tags)
    if form == "json":
        from dumpscan.report import json

        emit([json.render(report)], output)
        return
    from dumpscan.report import attribution

    emit([attribution.render(report)], output)
