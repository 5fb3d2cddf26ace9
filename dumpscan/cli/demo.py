"""``dumpscan demo``: two sample dumps, and what the verdict says of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from dumpscan.cli.verdict import command as verdict
from dumpscan.errors import UsageError


class Sample(NamedTuple):
    """A dump of the demo. ``scenario`` is one of the sample writer's."""

    name: str
    scenario: str
    what: str


SAMPLES = (
    Sample("hung-xp-sp3.dmp", "leak", "a hung Windows XP SP3 machine, kernel dump"),
    Sample("healthy-xp-sp3.dmp", "healthy", "a healthy one"),
)


@click.command("demo", short_help="Write two sample dumps and judge them")
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror or error})") from error
    for sample in SAMPLES:
        path = folder / sample.name
        _write(sample, path)
        click.echo(f"# {path}: {sample.what}\n$ dumpscan verdict {path}")
        ctx.invoke(verdict, image=path)
        click.echo()


def _write(sample: Sample, path: Path) -> None:
    from dumpscan.bundled import samples_package

    samples = samples_package()
    machine = samples.build(profile="xpsp3-x86-pae", scenario=sample.scenario, seed=1)
    partial = path.with_name(path.name + ".part")
    try:
        samples.write(machine, "crash32-kernel", partial)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
