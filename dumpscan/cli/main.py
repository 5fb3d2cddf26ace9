"""The ``dumpscan`` command: its commands, loaded lazily. Importing this loads click and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from dumpscan import __version__
from dumpscan.cli.guard import guarded

COMMANDS = {
    "verdict": "Judge an image: which kernel, what ate the pool, is it KB950162",
    "info": "Say what a file is, whether it is whole, which kernel is in it",
    "pools": "Show what each pool tag holds",
    "allocations": "List single pool blocks and extract their contents",
    "compare": "Compare images of one machine: what grew, when the pool is full",
    "attribute": "Say what leaked blocks hold and which driver lost them",
    "batch": "Judge a whole archive of images into a store",
    "report": "Write what a store holds: CSV, JSON, Parquet, dashboard",
    "demo": "Write two sample dumps and judge them",
    "plugins": "Print the folder of the volatility3 plugins",
}
"""Name to short help, in the order of ``--help``, which is printed from here: no module is imported for
it. Each is the object ``command`` of the module ``dumpscan.cli.NAME``."""


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in ``--help``, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any
    ) -> NoReturn:
        """Run and exit with a code of :class:`dumpscan.errors.ExitCode`."""
        # numpy's linear algebra is not used; the threads that it starts would cost a tenth of a second.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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

    Reads crash dumps, hibernation files, raw memory and saved virtual machines; offline, without symbols.
    """


def main() -> NoReturn:
    """Entry point of the console script."""
    cli.main()
