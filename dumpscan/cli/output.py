"""Where a command's data goes: stdout, or a file that appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dumpscan.errors import UsageError


def emit(parts: Iterable[str], target: Path | None) -> None:
    """Write text to ``target``, or to stdout when it is None.

    :raises UsageError: the file cannot be written.
    """
    if target is None:
        from dumpscan.report import safe

        for part in parts:
            safe.write(sys.stdout, part)
        return
    try:
        _write_file(parts, Path(os.path.realpath(target)))
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error})") from error


def refuse_image(target: Path | None, image: Path) -> None:
    """:raises UsageError: the result would replace the evidence."""
    if target is not None and target.exists() and image.exists() and os.path.samefile(target, image):
        raise UsageError(f"{target}: is the image itself; name another file for the result")


def _write_file(parts: Iterable[str], path: Path) -> None:
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(parts)
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(parts)
        Path(name).chmod(_file_mode(path))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _file_mode(path: Path) -> int:
    """Mode of the file that is replaced, else what the umask leaves of rw-rw-rw-."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
