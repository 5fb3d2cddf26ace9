"""The only place where an error becomes a line on stderr and an exit code.

Known errors say what is wrong in one line. Anything else is a bug: one line that says so and exit
code 70; the traceback appears only with ``DUMPSCAN_DEBUG=1``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable

import click

from dumpscan.errors import DumpscanError, ExitCode

INTERRUPTED = 130
"""Ctrl-C, as a shell reports a program that SIGINT ended."""

BROKEN_PIPE = 141
"""The reader of the output went away, as a shell reports a program that SIGPIPE ended."""


def guarded(run: Callable[[], int]) -> int:
    """Return the exit code of ``run``, or of the error that it raised, which is reported."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except click.exceptions.Exit as error:
        return _flushed(error.exit_code)
    except BrokenPipeError:
        return _drop_stdout()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        return _report(_usage(error), ExitCode.USAGE)
    except DumpscanError as error:
        return _report(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _bug(error)
        _drop_stdout()
        return _report(
            f"the output cannot be written ({error.strerror}); make room on its disk", ExitCode.USAGE
        )
    except Exception as error:
        return _bug(error)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _drop_stdout()
    return code


def _drop_stdout() -> int:
    """Python flushes stdout once more when it ends, and would complain."""
    with contextlib.suppress(OSError, ValueError):  # stdout is no file: nothing will complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _usage(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    hint = f" (see '{ctx.command_path} --help')" if ctx is not None else ""
    return error.format_message().rstrip(".") + hint


def _report(message: str, code: int) -> int:
    line = " ".join(message.split())
    # Paths and bytes of a broken file may be quoted in it; a terminal must not obey them.
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)
    click.echo(f"dumpscan: error: {shown}", err=True)
    return int(code)


def _bug(error: Exception) -> int:
    if os.environ.get("DUMPSCAN_DEBUG"):
        import traceback

        traceback.print_exc()
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _report(
        f"internal error ({what}); this is a bug of dumpscan, DUMPSCAN_DEBUG=1 shows where", ExitCode.INTERNAL
    )
