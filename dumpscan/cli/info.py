"""``dumpscan info``: what a file is, and which kernel is in it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dumpscan.cli.common import image_options, no_color_option, open_for
from dumpscan.cli.output import emit


@click.command("info")
@image_options
@no_color_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    image: Path, output: Path | None, quiet: bool, symbols: tuple[Path, ...], no_color: bool, form: str
) -> None:
    """Say what IMAGE is, whether it is whole, what its header claims and which kernel is in it.

    A kernel that is not found is a note, not a failure.
    """
    with open_for(image, quiet=quiet, symbols=symbols, output=output) as case:
        info = case.describe()
    if form == "json":
        from dumpscan.report import json

        emit([json.render(info)], output)
        return
    from dumpscan.report import info as report

    if output is not None:
        emit([report.render(info)], output)
    else:
        report.write(info, sys.stdout, colour=False if no_color else None)
