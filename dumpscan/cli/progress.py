"""A line on stderr for passes that take longer than a second; nothing where nobody watches."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_QUIET_FOR = 1.0
"""Seconds before the first line: what ends sooner needs no progress."""
_BETWEEN = 0.1
"""Seconds between two lines."""
_WIDTH = 70


class Progress:
    """The callback ``progress(what, done, total)`` of the rooms below, and the cleaning up after it.

    Silent unless ``stream`` (stderr) is a terminal. ``total`` 0 means that nobody knows it.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._shown = False
        self._silent = quiet or not self._stream.isatty()
        self._next = time.monotonic() + _QUIET_FOR

    def __call__(self, what: str, done: int, total: int) -> None:
        """Draw the line when it is due."""
        now = time.monotonic()
        if self._silent or now < self._next:
            return
        self._next = now + _BETWEEN
        share = f" {min(done / total, 1):4.0%}" if total > 0 else ""
        self._stream.write(f"\r{what[: _WIDTH - len(share)]}{share}".ljust(_WIDTH + 1))
        self._stream.flush()
        self._shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the line, so that the result or the error starts on a clean one."""
        if self._shown:
            self._stream.write("\r" + " " * _WIDTH + "\r")
            self._stream.flush()
            self._shown = False
