"""``dumpscan verdict``: the whole answer for one image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dumpscan.cli.common import (
    contents_option,
    image_options,
    load_settings,
    no_color_option,
    open_for,
    pagefile_option,
    thresholds_option,
)
from dumpscan.cli.output import emit
from dumpscan.errors import ExitCode

if TYPE_CHECKING:
    from dumpscan.model import Verdict

EXIT_CODES = {
    "does-not-exhibit": ExitCode.OK,
    "exhibits": ExitCode.EXHIBITS,
    "unexpected": ExitCode.UNEXPECTED,
    "inconclusive": ExitCode.INCONCLUSIVE,
}


@click.command("verdict")
@image_options
@no_color_option
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True
)
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with the answer: 0 does-not-exhibit, 10 exhibits, 11 unexpected, 12 inconclusive.",
)
@click.option(
    "--census",
    type=click.Choice(["auto", "tables", "pages", "sample"]),
    default="auto",
    show_default=True,
    help="tables: the kernel's own counters; pages: a walk of every pool page, held against the tables; "
    "sample: a random sample of pool pages, with 95 % intervals; "
    "auto: the tables where there are any, else the walk.",
)
@thresholds_option
@click.option(
    "--signature",
    "signatures",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="TOML file with a further leak signature to look for. Repeatable.",
)
@pagefile_option
@contents_option
def command(
    image: Path,
    output: Path | None,
    quiet: bool,
    symbols: tuple[Path, ...],
    page_files: tuple[Path, ...],
    no_color: bool,
    form: str,
    exit_code: bool,
    census: str,
    thresholds: Path | None,
    signatures: tuple[Path, ...],
    contents: bool,
) -> int:
    """Judge IMAGE: which kernel, what ate the pool, is it KB950162, what to install."""
    settings = load_settings(thresholds, signatures)
    with open_for(
        image,
        quiet=quiet,
        symbols=symbols,
        output=output,
        census=census,
        settings=settings,
        contents=contents,
        page_files=page_files,
    ) as case:
        verdict = case.report() if form == "html" else case.verdict()
    _show(verdict, form, output, no_color)
    return EXIT_CODES[verdict.verdict.code] if exit_code else ExitCode.OK


def _show(verdict: Verdict, form: str, output: Path | None, no_color: bool) -> None:
    if form == "json":
        from dumpscan.report import json

        emit([json.render(verdict)], output)
        return
    if form == "html":
        from dumpscan.report.html import verdict as html

        emit([html.render(verdict)], output)
        return
    from dumpscan.report import text

    if output is not None:
        emit([text.render(verdict)], output)
    else:
        text.write(verdict, sys.stdout, colour=False if no_color else None)
