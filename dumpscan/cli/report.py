"""``dumpscan report``: what a store holds, for scripts and spreadsheets."""

from __future__ import annotations

from pathlib import Path

import click

from dumpscan.cli.common import contents_option
from dumpscan.cli.output import emit
from dumpscan.errors import UsageError


@click.command("report")
@click.argument("store", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet", "html"]),
    default="csv",
    show_default=True,
    help="csv: a row for each file; json: dumpscan.report/1, with every whole result document; parquet: "
    "the rows and the documents (extra dumpscan[parquet], needs -o); html: a dashboard in the folder that "
    "-o names, index.html and a page for each file.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write to PATH instead of standard output.",
)
@contents_option
def command(store: Path, form: str, output: Path | None, contents: bool) -> None:
    """Write what a STORE of the command batch holds: every file, its status, its verdict."""
    from contextlib import closing

    from dumpscan.batch import export
    from dumpscan.batch.privacy import unchanged, without_contents
    from dumpscan.batch.store import read_store

    if output is not None and output.exists() and store.exists() and output.samefile(store):
        raise UsageError(f"{output}: is the store itself; name another file for the report")
    if form == "html":
        _dashboard(store, output, contents)
        return
    if output is not None and output.is_dir():
        raise UsageError(f"{output}: is a folder; name a file for --format {form}")
    changed = unchanged if contents else without_contents
    with closing(read_store(store)) as connection:
        if form == "parquet":
            if output is None:
                raise UsageError("--format parquet is binary: name a file with -o PATH")
            export.write_parquet(connection, output, changed)
        elif form == "json":
            emit(export.json_parts(connection, str(store), changed), output)
        else:
            emit(export.csv_rows(connection), output)


def _dashboard(store: Path, folder: Path | None, contents: bool) -> None:
    from dumpscan.batch import dashboard
    from dumpscan.cli.progress import Progress

    if folder is None:
        raise UsageError("--format html writes many files: name a folder with -o DIR")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder for the dashboard")
    with Progress() as progress:
        dashboard.write(store, folder, progress, contents=contents)
