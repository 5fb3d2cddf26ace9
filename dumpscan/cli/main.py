"""The ``dumpscan`` command: its commands, loaded lazily. Importing this loads click and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from dumpscan import __version__
from dumpscan.cli.guard import guarded

COMMANDS = ("verdict", "info", "pools", "allocations", "compare", "attribute", "batch", "report", "demo", "plugins")
"""In the order of ``--help``. Each is the object ``command`` of the module ``dumpscan.cli.NAME``."""


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for; ends every run through the guard."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import ``dumpscan.cli.NAME`` and return its command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"dumpscan.cli.{cmd_name}").command
        return command

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any
    ) -> NoReturn:
        """Run and exit with a code of :class:`dumpscan.errors.ExitCode`."""
        given = list(sys.argv[1:] if args is None else args)
        sys.exit(guarded(lambda: self._run(given, prog_name or "dumpscan")))

    def _run(self, args: list[str], prog_name: str) -> int:
        with self.make_context(prog_name, args) as ctx:
            code = self.invoke(ctx)
        return code if isinstance(code, int) else 0


@click.group(
    "dumpscan",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 analysed, 1 some images of a batch failed, 2 usage, 3 file unreadable, "
    "4 no memory image, 5 format not supported, 6 damaged or incomplete, 70 internal error; with "
    "--exit-code 10, 11 and 12. "
    "'dumpscan COMMAND --help' explains a command.",
)
@click.version_option(__version__, prog_name="dumpscan", message="%(prog)s %(version)s")
def cli() -> None:
    """Say from a Windows memory image what ate the kernel's pool, and whether it is KB950162.

    Reads crash dumps, raw images, ELF cores, LiME and VMware memory; offline, without symbols.
    """


def main() -> NoReturn:
    """Entry point of the console script."""
    cli.main()
