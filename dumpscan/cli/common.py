"""Options that commands share, each declared once, and the opening of an image from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dumpscan.cli.progress import Progress

if TYPE_CHECKING:
    from dumpscan.case import Case
    from dumpscan.verdict.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_STATS = "dumpscan.stats"

TAG_HELP = "Only these tags: four characters, '?' any one, '*' any number; blanks count ('Pp  '). Repeatable."


class _Image(click.Path):
    """A path, or the address of a remote image as text. (A missing file has an exit code of its own.)"""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from dumpscan.image.source import is_address

        return value if is_address(value) else super().convert(value, param, ctx)


def _remember_stats(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[_STATS] = value


def image_options(command: F) -> F:
    """IMAGE, -o, --quiet and --symbols: what every command on an image takes."""
    return _on_images(click.argument("image", type=_Image(path_type=Path)), command)


def series_options(command: F) -> F:
    """As :func:`image_options`, for a command on several images."""
    several = click.argument(
        "images", metavar="IMAGE IMAGE...", nargs=-1, required=True, type=_Image(path_type=Path)
    )
    return _on_images(several, command)


def _on_images(argument: Callable[[F], F], command: F) -> F:
    for decorate in reversed(
        (
            argument,
            click.option(
                "-o",
                "--output",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help="Write the result to FILE instead of standard output.",
            ),
            click.option("-q", "--quiet", is_flag=True, help="No progress on standard error."),
            click.option(
                "--stats",
                is_flag=True,
                expose_value=False,
                callback=_remember_stats,
                help="Say on standard error what reading the image has cost.",
            ),
            click.option(
                "--symbols",
                type=click.Path(path_type=Path, exists=True, file_okay=False),
                multiple=True,
                metavar="DIR",
                help="Folder with PDB files or volatility3 symbol tables; used when one fits. Repeatable.",
            ),
        )
    ):
        command = decorate(command)
    return command


def no_color_option(command: F) -> F:
    """--no-color, for commands whose text is coloured on a terminal."""
    return click.option(
        "--no-color", is_flag=True, help="Plain text on a terminal too (as the variable NO_COLOR does)."
    )(command)


def pagefile_option(command: F) -> F:
    """--pagefile, for commands that look at pool pages."""
    return click.option(
        "--pagefile",
        "page_files",
        type=click.Path(path_type=Path, dir_okay=False),
        multiple=True,
        metavar="FILE",
        help="A page file (pagefile.sys) of the imaged machine, of the same moment: paged-out pool is read "
        "from it. Repeatable; the first is page file 0, the next 1.",
    )(command)


def pool_option(command: F) -> F:
    """--pool, for commands that can look at one pool alone."""
    return click.option(
        "--pool", type=click.Choice(["paged", "nonpaged"]), help="Only this pool (both unless given)."
    )(command)


def thresholds_option(command: F) -> F:
    """--thresholds, for commands that judge."""
    return click.option(
        "--thresholds",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="TOML file with thresholds of your own.",
    )(command)


def load_settings(thresholds: Path | None, signatures: tuple[Path, ...] = ()) -> Settings | None:
    """A user's rules, None without any. Read before the image: a misspelt threshold is known at once.

    :raises dumpscan.errors.UsageError: a broken file, or an unknown signature or threshold.
    """
    if thresholds is None and not signatures:
        return None
    from dumpscan.verdict.settings import Settings

    return Settings.load(thresholds, signatures)


def contents_option(command: F) -> F:
    """--no-contents, for commands that look into blocks."""
    return click.option(
        "--no-contents",
        "contents",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Show nothing of what blocks hold: only kinds, counts, and drivers in the kernel's own lists.",
    )(command)


@contextmanager
def open_for(
    image: Path | str,
    *,
    quiet: bool,
    symbols: tuple[Path, ...],
    output: Path | None = None,
    census: str = "auto",
    settings: Settings | None = None,
    contents: bool = True,
    page_files: tuple[Path, ...] = (),
) -> Iterator[Case]:
    """The case that a command works on; its file is let go, and its progress line wiped, at the end.

    :raises dumpscan.errors.ImageError: the file is missing, no image, unsupported or damaged.
    :raises dumpscan.errors.UsageError: ``output`` is the image itself.
    """
    from dumpscan.case import Options, open_case
    from dumpscan.cli.output import refuse_image

    for given in (image, *page_files):
        if isinstance(given, Path):
            refuse_image(output, given)
    with Progress(quiet=quiet) as progress:
        options = Options(
            census=census,
            symbol_dirs=symbols,
            settings=settings,
            progress=progress,
            contents=contents,
            page_files=page_files,
        )
        case = open_case(image, options)
        try:
            yield case
        finally:
            for warning in case.warnings:
                click.echo(f"dumpscan: warning: {warning}", err=True)
            if click.get_current_context().meta.get(_STATS):
                cost = case.opened.traffic or f"{case.info.bytes:,} bytes, a local file, mapped"
                click.echo(f"dumpscan: {case.info.path}: {cost}", err=True)
            case.opened.close()
