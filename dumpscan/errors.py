"""Every error that dumpscan raises on purpose, and the exit code that each one means.

The tree (an exit code stands beside the class that fixes it)::

    DumpscanError                          6
    ├── UsageError                         2   the request makes no sense
    ├── ImageError
    │   ├── UnreadableFile                 3   missing, a directory, no permission
    │   ├── NotAnImage                     4   readable, but no memory image
    │   ├── UnsupportedImage               5   recognised by name, not read by dumpscan
    │   └── DamagedImage                   6   recognised, but its own fields contradict it
    ├── MemoryFault
    │   ├── AbsentMemory                   6   the page is not in the image: unknown, not empty
    │   └── WrongMemory                    6   the page is there and holds something else
    └── KernelNotFound                     6   no Windows kernel in this memory

Absent and wrong memory are two errors on purpose: the first one makes a result *unknown*, the
second one makes an address wrong. Anything that is not a :class:`DumpscanError` and reaches the
command line is a bug of dumpscan and exits with 70.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the ``dumpscan`` command. 10 to 12 occur only with ``--exit-code``.

    ``FAILED`` occurs only with the command ``batch``: some images were not judged.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREADABLE = 3
    NOT_AN_IMAGE = 4
    UNSUPPORTED = 5
    DAMAGED = 6
    EXHIBITS = 10
    UNEXPECTED = 11
    INCONCLUSIVE = 12
    INTERNAL = 70


class DumpscanError(Exception):
    """Base of the tree. ``str(error)`` is one line: what, where, what to do."""

    exit_code: ExitCode = ExitCode.DAMAGED


class UsageError(DumpscanError):
    """The request cannot be carried out as stated (an unknown option value, a broken user file)."""

    exit_code = ExitCode.USAGE


class ImageError(DumpscanError):
    """A file could not be opened as a memory image."""


class UnreadableFile(ImageError):
    """The path is missing, a directory, or may not be read."""

    exit_code = ExitCode.UNREADABLE


class NotAnImage(ImageError):
    """The file can be read but is no memory image (empty, an archive, a text ...)."""

    exit_code = ExitCode.NOT_AN_IMAGE


class UnsupportedImage(ImageError):
    """The format is recognised and named, but dumpscan does not read it."""

    exit_code = ExitCode.UNSUPPORTED


class DamagedImage(ImageError):
    """The format is recognised, but a header field, bitmap or list contradicts the file."""

    exit_code = ExitCode.DAMAGED


class MemoryFault(DumpscanError):
    """Reading the imaged machine's memory did not give what was asked for."""


class AbsentMemory(MemoryFault):
    """A page is not in the image (not dumped, paged out, never mapped): its content is unknown."""

    def __init__(self, address: int, length: int = 0, *, physical: bool = False, why: str = "") -> None:
        self.address = address
        self.length = length
        self.physical = physical
        kind = "physical" if physical else "virtual"
        super().__init__(
            f"{kind} address {address:#x} is not in the image" + (f" ({why})" if why else "")
        )


class WrongMemory(MemoryFault):
    """Memory is present but is not the structure that should be there."""


class KernelNotFound(DumpscanError):
    """No Windows kernel was found in the physical memory of the image."""
