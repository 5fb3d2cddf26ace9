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
from pathlib import Path, PurePath
from typing import BinaryIO

from dumpscan.errors import DamagedImage, ImageError, NotAnImage, UnreadableFile
from dumpscan.image.recognise import HEAD, open_source, sniff
from dumpscan.image.scratch import scratch_folder, sweep, write_sparse
from dumpscan.image.source import is_address
from dumpscan.image.unpack import NEED_SEEK, Entry, Limits, bomb, entries, peeked, translated

__all__ = ["KINDS", "Limits", "Member", "extract", "members", "sweep"]

_MAX_NAME = 200

KINDS = frozenset(("gzip", "bzip2", "xz", "zstd", "zip", "7z", "tar", "cab"))
"""The kinds, as :func:`dumpscan.image.recognise.sniff` names them, that :func:`members` reads."""


@dataclass(frozen=True)
class Member:
    """A file in a container.

    ``where`` is its position: ``(3,)``, or ``(3, 0)`` in a container inside. ``name`` is for people:
    printable, shortened, levels joined with ``!``. ``size`` is what the container claims in bytes,
    None where it does not say. ``kind`` is what its first bytes show (as ``sniff``; ``raw`` is any
    unknown content). ``fault`` says why it cannot be extracted, ``code`` is the exit code of that error;
    the rest of the container may be fine.
    """

    name: str
    size: int | None
    where: tuple[int, ...]
    kind: str | None = None
    fault: str | None = None
    code: int = 0


def members(path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator[Member]:
    """The files in a container, in stored order, without folders and links.

    An address is read in place. A container inside is replaced by its members. Compressed tar and 7z
    are decompressed once for this; zip and plain tar are not.

    :raises UnreadableFile: missing or not permitted. :raises NotAnImage: no container.
    :raises UnsupportedImage: the library for this kind is not installed; names the extra.
    :raises DamagedImage: cut off, damaged, or it unpacks beyond ``limits``; members that were
        found before are yielded first.
    """
    found = _Container(path, limits or Limits())
    with found.opened() as (stream, kind):
        for index, entry in found.entries(stream, kind, found.name):
            yield from _looked_into(found, index, entry)


class _Container:
    """The file on disk or server, and what may come out of it."""

    def __init__(self, path: str | os.PathLike[str], limits: Limits) -> None:
        self.limits = limits
        self.name = PurePath(path).name
        self._path = path
        self._size = 0

    @contextmanager
    def opened(self) -> Iterator[tuple[BinaryIO, str]]:
        """The file and its kind."""
        with self._stream() as stream:
            self._size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            kind = sniff(stream.read(HEAD))
            stream.seek(0)
            if kind not in KINDS:
                raise NotAnImage(f"{self.name}: no compressed container that dumpscan reads")
            yield stream, kind

    def _stream(self) -> BinaryIO:
        if is_address(self._path):
            from dumpscan.image.remote import stream_of

            source = open_source(self._path)
            self.name = source.path.name
            return stream_of(source)
        try:
            return open(self._path, "rb")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UnreadableFile(f"{self._path}: {why}; give the path of a container") from None

    def most(self, packed: int | None = None) -> int:
        """Bytes that ``packed`` ones (default: the whole file's) may become."""
        return self.limits.most(self._size if packed is None else packed)

    def entries(self, stream: BinaryIO, kind: str, name: str) -> Iterator[tuple[int, Entry]]:
        """Numbered entries. :raises DamagedImage: there are too many of them."""
        for index, entry in enumerate(entries(stream, kind, name, self.most())):
            if index >= self.limits.max_members:
                raise DamagedImage(
                    f"{name}: holds more than {self.limits.max_members} files; unpack it first"
                )
            yield index, entry

    @contextmanager
    def seekable(self, stream: BinaryIO, kind: str, name: str) -> Iterator[BinaryIO]:
        """A container inside: as it is, or spooled to a temporary file where its kind needs that."""
        if kind not in NEED_SEEK:
            yield stream
            return
        with scratch_folder() as folder:
            write_sparse(stream, folder / "container", min(self.most(), self.limits.max_bytes), name)
            with (folder / "container").open("rb") as file:
                yield file


def _looked_into(found: _Container, index: int, entry: Entry) -> Iterator[Member]:
    """The member for ``entry``, or those of the container that it is."""
    name, kind = _shown(entry.name), None
    try:
        with translated(name):
            head, stream = peeked(entry.open(), HEAD)
            kind = sniff(head)
            if kind in KINDS:
                yield from _inside(found, index, name, stream, kind)
                return
    except ImageError as error:
        yield Member(name, entry.size, (index,), kind, str(error), int(error.exit_code))
        return
    yield Member(name, entry.size, (index,), kind)


def _inside(found: _Container, index: int, name: str, stream: BinaryIO, kind: str) -> Iterator[Member]:
    with found.seekable(stream, kind, name) as inner:
        for number, entry in found.entries(inner, kind, name):
            full = f"{name}!{_shown(entry.name)}"
            inner_kind, fault, code = None, None, 0
            try:
                with translated(full):
                    inner_kind = sniff(peeked(entry.open(), HEAD)[0])
            except ImageError as error:
                fault, code = str(error), int(error.exit_code)
            yield Member(full, entry.size, (index, number), inner_kind, fault, code)


def _shown(name: str) -> str:
    """A name from inside as words for people: printable and short."""
    clean = "".join(char if char.isprintable() else "?" for char in name)
    return clean if len(clean) <= _MAX_NAME else "..." + clean[-_MAX_NAME:]


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
    found = _Container(path, limits or Limits())
    with scratch_folder(folder) as target:
        with found.opened() as (stream, kind), translated(member.name):
            _unpack(found, stream, kind, member, target)
        yield _image_in(target)


def _image_in(target: Path) -> Path:
    memory = target / "image.vmem"
    return memory if memory.exists() else target / "image"


def _unpack(found: _Container, stream: BinaryIO, kind: str, member: Member, target: Path) -> None:
    """Write the member, and the state file beside it, into ``target``."""
    if len(member.where) == 1:
        _pick(found, found.entries(stream, kind, found.name), member, target)
        return
    for index, entry in found.entries(stream, kind, found.name):
        if index != member.where[0]:
            continue
        head, plain = peeked(entry.open(), HEAD)
        inner_kind, name = sniff(head), _shown(entry.name)
        if inner_kind not in KINDS:
            break
        with found.seekable(plain, inner_kind, name) as inner:
            _pick(found, found.entries(inner, inner_kind, name), member, target)
        return
    raise _changed(found)


def _pick(found: _Container, inside: Iterator[tuple[int, Entry]], member: Member, target: Path) -> None:
    wanted, done = member.where[-1], False
    stem, _, suffix = member.name.rpartition("!")[2].rpartition(".")
    is_vmem = suffix.lower() == "vmem"
    for index, entry in inside:
        name = _shown(entry.name)
        if index == wanted:
            if name != member.name.rpartition("!")[2] or entry.size != member.size:
                break
            _write(found, entry, target / ("image.vmem" if is_vmem else "image"), member.name)
            done = True
        elif is_vmem and name.lower() in (f"{stem}.vmss".lower(), f"{stem}.vmsn".lower()):
            # The two suffixes that the reader of the memory file looks for, not the name inside.
            _write(found, entry, target / f"image.{name[-4:].lower()}", name)
        if done and not is_vmem:
            return
    if not done:
        raise _changed(found)


def _write(found: _Container, entry: Entry, path: Path, name: str) -> None:
    most = min(found.limits.max_bytes, found.most(entry.packed))
    if entry.size is not None and entry.size > most:
        raise bomb(name)
    write_sparse(entry.open(), path, most, name)


def _changed(found: _Container) -> DamagedImage:
    return DamagedImage(f"{found.name}: the container changed since it was listed; list it again")
