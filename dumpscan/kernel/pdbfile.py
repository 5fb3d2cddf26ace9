"""Which build a PDB file belongs to: the GUID and age that a kernel's debug record names.

Reads a few hundred bytes of a "multi-stream format" 7.00 file: super block, stream directory, the PDB
stream (1: GUID) and the DBI stream (3: age). The trap of the area: the PDB stream has an age too, which
later tools leave alone; the image's debug record carries that of the DBI stream. Converting the file is
another matter (:mod:`dumpscan.kernel.through_pdbconv`). Witness: the public PDB of ntkrnlpa
5.1.2600.5512 and its record in facts/kernel-location.md section 8 [FILE].
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
_BLOCK_SIZES = (512, 1024, 2048, 4096, 8192)
_MOST_DIRECTORY = 16 << 20
_PDB, _DBI = 1, 3


def identity(path: Path) -> tuple[str, int] | None:
    """GUID (32 hex digits) and age of the PDB file at ``path``; None where it is no such file.

    :raises OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _identity(file)
        except (struct.error, IndexError):
            return None  # Numbers that lead out of the file: damaged, or cut off.


def _identity(file: BinaryIO) -> tuple[str, int] | None:
    head = file.read(56)
    if head[:32] != _MAGIC:
        return None
    size, _, _, directory_bytes, _, map_block = struct.unpack_from("<6I", head, 32)
    if size not in _BLOCK_SIZES or not 8 <= directory_bytes <= _MOST_DIRECTORY:
        return None
    count = -(-directory_bytes // size)
    blocks = struct.unpack(f"<{count}I", _at(file, map_block * size, 4 * count))
    directory = b"".join(_at(file, block * size, size) for block in blocks)[:directory_bytes]
    pdb = _at(file, _first_block(directory, _PDB, size) * size, 28)
    dbi = _at(file, _first_block(directory, _DBI, size) * size, 12)
    a, b, c = struct.unpack_from("<IHH", pdb, 12)
    guid = f"{a:08X}{b:04X}{c:04X}" + pdb[20:28].hex().upper()
    return guid, struct.unpack_from("<I", dbi, 8)[0]


def _first_block(directory: bytes, stream: int, size: int) -> int:
    """Number of the block where a stream starts, by the directory's sizes and block lists."""
    streams = struct.unpack_from("<I", directory)[0]
    sizes = struct.unpack_from(f"<{stream}I", directory, 4)
    # A size of all ones marks a stream that was deleted: it has no blocks.
    before = sum(-(-each // size) for each in sizes if each != 0xFFFFFFFF)
    first: int = struct.unpack_from("<I", directory, 4 + 4 * streams + 4 * before)[0]
    return first


def _at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
