"""Compressed containers: what is in them, and one member at a time as a temporary file.

gz, bz2, xz, zst, zip, 7z, tar (also compressed) and cab; a container inside one of them is looked
into, one inside that is not. Members are known by their position: names inside are words for people,
never paths. Everything is streamed; what unpacks to more than :class:`Limits` allows is refused.

:func:`extract` writes into a private folder that a lock marks as in use. The folder goes when the
context ends; one whose process was killed has lost its lock (the system lets go of it), and the next
:func:`extract` or :func:`sweep` in the same place deletes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KINDS = frozenset(("gzip", "bzip2", "xz", "zstd", "zip", "7z", "tar", "cab"))
"""The kinds, as :func:`dumpscan.image.recognise.sniff` names them, that :func:`members` reads."""


@dataclass(frozen=True)
class Limits:
    """What unpacking may cost.

    ``max_bytes`` of one member, ``max_ratio`` unpacked to packed bytes (not looked at below
    ``free_bytes``), ``max_members`` of one container.
    """

    max_bytes: int = 64 << 30
    max_ratio: float = 500.0
    free_bytes: int = 256 << 20
    max_members: int = 100_000


@dataclass(frozen=True)
class Member:
    """A file in a container.

    ``where`` is its position: ``(3,)``, or ``(3, 0)`` in a container inside. ``name`` is for people:
    printable, shortened, levels joined with ``!``. ``size`` is what the container claims in bytes,
    None where it does not say. ``kind`` is what its first bytes show (as ``sniff``; ``raw`` is any
    unknown content). ``fault`` says why it cannot be extracted; the rest of the container may be
    fine.
    """

    name: str
    size: int | None
    where: tuple[int, ...]
    kind: str | None = None
    fault: str | None = None


def members(path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator[Member]:
    """The files in a container, in stored order, without folders and links.

    A container inside is replaced by its members. Compressed tar and 7z are decompressed once for
    this; zip and plain tar are not.

    :raises UnreadableFile: missing or not permitted. :raises NotAnImage: no container.
    :raises UnsupportedImage: the library for this kind is not installed; names the extra.
    :raises DamagedImage: cut off, damaged, or it unpacks beyond ``limits``; members that were
        found before are yielded first.
    """
    raise NotImplementedError


@contextmanager
def extract(
    path: str | os.PathLike[str],
    member: Member,
    limits: Limits | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Path]:
    """One member as a temporary file, deleted when the context ends.

    ``folder`` is where it is made (the system's temporary folder by default). Zero blocks stay holes
    where the file system can. The file is called ``image``, or ``image.vmem`` with ``image.vmss``
    (or ``.vmsn``) beside it for a VMware memory file whose state file lies beside it in the container.

    :raises UnsupportedImage: encrypted, or the library is not installed.
    :raises DamagedImage: damaged, beyond ``limits``, or the container changed since it was listed.
    :raises UnreadableFile: no room in ``folder``.
    """
    raise NotImplementedError
    yield Path()


def sweep(folder: str | os.PathLike[str] | None = None) -> int:
    """Delete what killed processes left in ``folder``; returns the number of leftovers deleted."""
    raise NotImplementedError
