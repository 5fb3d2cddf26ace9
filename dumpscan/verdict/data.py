"""Reading the data files of this room (and a user's own): TOML in, plain dictionaries out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dumpscan.errors import UnreadableFile, UsageError

HERE = Path(__file__).parent


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a TOML file.

    :raises UnreadableFile: the file is missing or may not be read.
    :raises UsageError: it is no TOML; names the file and what the parser says.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file ({' '.join(str(error).split())})") from error


def refuse_unknown(
    where: str, given: Mapping[str, Any], known: Iterable[str], required: Iterable[str] = ()
) -> None:
    """Refuse a key that nobody would read: a misspelt threshold must not pass silently.

    :raises UsageError: an unknown or missing key, named together with ``where``.
    """
    known = tuple(known)
    for key in given:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{key}' (known: {', '.join(sorted(known))})")
    for key in required:
        if key not in given:
            raise UsageError(f"{where}: key '{key}' is missing")
