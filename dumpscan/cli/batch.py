"""``dumpscan batch``: a whole archive of images, each judged in bounds, into a store."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dumpscan.cli.common import contents_option
from dumpscan.errors import ExitCode

if TYPE_CHECKING:
    from dumpscan.batch.run import Plan, Summary

_SIGNALLED = 128
_LEAST_MEMORY = 128
"""MB. A worker takes half of it before it looks at an image."""


def _memory(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if 0 < value < _LEAST_MEMORY:
        raise click.BadParameter(f"too little for any image; give {_LEAST_MEMORY} or more, or 0")
    return value


def _seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if math.isnan(value):  # It is below no limit, and above none.
        raise click.BadParameter("not a number of seconds")
    return value


def _options(command: click.decorators.FC) -> click.decorators.FC:
    """Everything but the paths and the store."""
    for decorate in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(1, 512),
                metavar="N",
                help="Worker processes on this machine. [default: one for each core]",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(min=0.1),
                callback=_seconds,
                default=300.0,
                show_default=True,
                metavar="S",
                help="Seconds that one image may take.",
            ),
            click.option(
                "--memory",
                type=click.IntRange(0, 1 << 30),
                default=2048,
                show_default=True,
                metavar="MB",
                callback=_memory,
                help=f"Memory that one worker may take, {_LEAST_MEMORY} or more; 0: no limit.",
            ),
            click.option(
                "--cluster", metavar="ADDRESS", help="Work on this Dask scheduler (extra dumpscan[cluster])."
            ),
            click.option("--retry-failed", is_flag=True, help="Analyse again what failed in an earlier run."),
            click.option(
                "--reanalyse",
                type=click.Choice(["none", "changed", "all"]),
                default="none",
                show_default=True,
                help="Analyse again what is recorded: what another version of dumpscan or other rules "
                "judged, or all.",
            ),
            click.option("--jsonl", is_flag=True, help="A JSON line on stdout for each file as it is done."),
            click.option(
                "--census",
                type=click.Choice(["auto", "tables", "pages", "sample"]),
                default="auto",
                show_default=True,
                help="As for the command verdict.",
            ),
        )
    ):
        command = decorate(command)
    return command


def _rules(command: click.decorators.FC) -> click.decorators.FC:
    """The user's own rules, as for the command verdict."""
    existing = click.Path(dir_okay=False, resolve_path=True)
    folder = click.Path(exists=True, file_okay=False, resolve_path=True)
    for decorate in reversed(
        (
            click.option("--thresholds", type=existing, metavar="FILE", help="As for the command verdict."),
            click.option(
                "--signature",
                "signatures",
                type=existing,
                multiple=True,
                metavar="FILE",
                help="As for the command verdict. Repeatable.",
            ),
            click.option(
                "--symbols",
                type=folder,
                multiple=True,
                metavar="DIR",
                help="Folder with PDB files or volatility3 symbol tables. Repeatable.",
            ),
            click.option("-q", "--quiet", is_flag=True, help="No progress on standard error."),
        )
    ):
        command = decorate(command)
    return command


@click.command("batch")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="SQLite file that keeps the results; made where there is none, continued where there is one.",
)
@_options
@_rules
@contents_option
def command(
    paths: tuple[str, ...],
    store: Path,
    workers: int | None,
    timeout: float,
    memory: int,
    cluster: str | None,
    retry_failed: bool,
    reanalyse: str,
    jsonl: bool,
    census: str,
    thresholds: str | None,
    signatures: tuple[str, ...],
    symbols: tuple[str, ...],
    quiet: bool,
    contents: bool,
) -> int:
    """Judge every image that PATH... name, and keep the results in a store.

    PATH is an image, a folder (with all below), a glob, an address (https://, s3://; s3://bucket/folder/
    with all below), or @FILE with one of these on each line. Compressed containers are looked into.
    Images are known by content; everything else is skipped with a recorded reason. The same command
    again continues where it was ended, however it was ended. Exit code 1: some images could not be
    judged.
    """
    from dumpscan.batch.job import Analysis, Limits
    from dumpscan.batch.run import Plan
    from dumpscan.batch.todo import Again

    plan = Plan(
        paths,
        store,
        workers=workers or _cores(),
        cluster=cluster,
        limits=Limits(timeout, memory << 20 if memory else None),
        analysis=Analysis(census, thresholds, signatures, symbols, contents),
        again=Again(retry_failed, reanalyse),
    )
    return _run(plan, jsonl=jsonl, quiet=quiet)


def _run(plan: Plan, *, jsonl: bool, quiet: bool) -> int:
    from dumpscan.batch.run import run_batch
    from dumpscan.cli.batch_view import make_view, summary_lines

    with make_view(jsonl=sys.stdout if jsonl else None, quiet=quiet) as view:
        summary = run_batch(plan, view)
    for line in summary_lines(summary, plan.store):
        click.echo(line, err=jsonl)
    return _exit_code(summary)


def _exit_code(summary: Summary) -> int:
    if summary.signal is not None:
        return _SIGNALLED + summary.signal
    return ExitCode.FAILED if summary.failed else ExitCode.OK


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
