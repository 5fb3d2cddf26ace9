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

TAG_HELP = (
    "Only these tags: four characters, '?' any one, '*' any number; blanks count ('Pp  '). Repeatable."
)


def image_options(command: F) -> F:
    """IMAGE, -o, --quiet and --symbols: what every command on an image takes."""
    for decorate in reversed(
        (
            # Not click's exists=True: a missing file has an exit code of its own.
            click.argument("image", type=click.Path(path_type=Path)),
            click.option(
                "-o",
                "--output",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help="Write the result to FILE instead of standard output.",
            ),
            click.option("-q", "--quiet", is_flag=True, help="No progress on standard error."),
            click.option(
                "--symbols",
                type=click.Path(path_type=Path, exists=True, file_okay=False),
                multiple=True,
                metavar="DIR",
                help="Folder with volatility3 symbol tables (ISF); used when one fits. Repeatable.",
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


def pool_option(command: F) -> F:
    """--pool, for commands that can look at one pool alone."""
    return click.option(
        "--pool", type=click.Choice(["paged", "nonpaged"]), help="Only this pool (both unless given)."
    )(command)


@contextmanager
def open_for(
    image: Path,
    *,
    quiet: bool,
    symbols: tuple[Path, ...],
    output: Path | None = None,
    census: str = "auto",
    settings: Settings | None = None,
) -> Iterator[Case]:
    """The case that a command works on; its file is let go, and its progress line wiped, at the end.

    :raises dumpscan.errors.ImageError: the file is missing, no image, unsupported or damaged.
    :raises dumpscan.errors.UsageError: ``output`` is the image itself.
    """
    from dumpscan.case import Options, open_case
    from dumpscan.cli.output import refuse_image

    refuse_image(output, image)
    with Progress(quiet=quiet) as progress:
        options = Options(census=census, symbol_dirs=symbols, settings=settings, progress=progress)
        case = open_case(image, options)
        try:
            yield case
        finally:
            case.opened.close()
