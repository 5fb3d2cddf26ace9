"""``dumpscan demo``: two sample dumps, and what the verdict says of them."""

from __future__ import annotations

from pathlib import Path

import click

from dumpscan.cli.verdict import command as verdict
from dumpscan.errors import UsageError


@click.command("demo")
@click.argument(
    "folder",
    metavar="[DIR]",
    required=False,
    default="sample-dumps",
    type=click.Path(path_type=Path, file_okay=False),
)
@click.pass_context
def command(ctx: click.Context, folder: Path) -> None:
    """Write a dump of a hung and one of a healthy machine to DIR and judge both.

    DIR is ./sample-dumps unless named; the dumps of an earlier demo in it are written anew.
    """
    from dumpscan.bundled import samples

    try:
        written: list[Path] = samples("demo").write_demo(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error})") from error
    for number, path in enumerate(written):
        click.echo(f"{chr(10) if number else ''}$ dumpscan verdict {path}")
        ctx.invoke(verdict, image=path)
