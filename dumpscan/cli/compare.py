"""``dumpscan compare``: several images of one machine, and what grew between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dumpscan.cli.common import (
    TAG_HELP,
    contents_option,
    load_settings,
    open_for,
    series_options,
    thresholds_option,
)
from dumpscan.cli.output import emit, refuse_image

if TYPE_CHECKING:
    from dumpscan.model import Verdict
    from dumpscan.verdict.settings import Settings


@click.command("compare")
@series_options
@click.option("--tag", "tags", multiple=True, metavar="GLOB", help=TAG_HELP)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="In text: only the N that grew most.")
@thresholds_option
@contents_option
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True
)
def command(
    images: tuple[Path | str, ...],
    output: Path | None,
    quiet: bool,
    symbols: tuple[Path, ...],
    tags: tuple[str, ...],
    top: int | None,
    thresholds: Path | None,
    contents: bool,
    form: str,
) -> None:
    """Compare IMAGE with IMAGE ...: same machine and boot, growth by tag, verdict, time until full.

    At least two, in any order. A verdict document (verdict --format json) may stand for its image.
    """
    from dumpscan.compare.build import compare

    settings = load_settings(thresholds)
    for image in images:
        if isinstance(image, Path):
            refuse_image(output, image)
    verdicts = [_verdict(image, quiet, symbols, contents, settings) for image in images]
    found = compare(verdicts, settings)
    if tags:
        from dumpscan.pool.tags import tag_matcher
        from dumpscan.records import replace

        wanted = tag_matcher(tags)
        found = replace(found, tags=tuple(row for row in found.tags if wanted(row.tag)))
    if form == "json":
        from dumpscan.report import json

        emit([json.render(found)], output)
        return
    if form == "html":
        from dumpscan.report.html import compare as html

        emit([html.render(found)], output)
        return
    from dumpscan.report import compare as report

    emit([report.render(found, top=top)], output)


_LONGEST_DOCUMENT = 64 << 20
"""Bytes. A verdict document has some hundred thousand; an image may begin with any byte."""


def _verdict(
    path: Path | str, quiet: bool, symbols: tuple[Path, ...], contents: bool, settings: Settings | None
) -> Verdict:
    """The verdict on an image, or the one that a document holds."""
    document = _document(path) if isinstance(path, Path) else None
    if document is not None:
        from dumpscan.attribution.line import without_contents

        return document if contents else without_contents(document)
    with open_for(path, quiet=quiet, symbols=symbols, contents=contents, settings=settings) as case:
        return case.verdict()


def _document(path: Path) -> Verdict | None:
    """The verdict document in the file, None when it is none (then it is taken for an image).

    :raises UsageError: JSON, but no verdict document.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(1) != b"{":
                return None
            data = b"{" + stream.read(_LONGEST_DOCUMENT)
    except OSError:
        return None  # opening it as an image says what is wrong with it
    if b'"schema"' not in data[:4096]:
        return None
    import json

    from dumpscan.errors import UsageError
    from dumpscan.model import VERDICT_SCHEMA, Verdict, from_dict

    try:
        raw = json.loads(data)
        if raw.get("schema") != VERDICT_SCHEMA:
            raise UsageError(f"{path}: schema {raw.get('schema')!r}, needed is {VERDICT_SCHEMA!r}")
        return from_dict(Verdict, raw)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: no verdict document ({' '.join(str(error).split())})") from error
