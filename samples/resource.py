"""The version resource of the kernel image: VS_VERSIONINFO inside a three-level resource tree.

Witness: facts/kernel-location.md section 8 (resource type 16, VS_FIXEDFILEINFO fields); the nesting is
the documented form of the Windows resource format.
"""

from __future__ import annotations

import struct
from typing import Final

from .profiles import KernelBuild

RT_VERSION: Final = 16
_ENGLISH: Final = 0x409


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _node(key: str, value: bytes, children: bytes = b"", *, text: bool = False) -> bytes:
    """wLength, wValueLength (in words for text), wType, szKey, padding, value, padding, children."""
    head = _pad(bytes(6) + (key + "\0").encode("utf-16-le"))
    body = head + (_pad(value) if children else value) + children
    length = len(value) // 2 if text else len(value)
    return struct.pack("<HHH", len(body), length, int(text)) + body[6:]


def _string(key: str, text: str) -> bytes:
    return _pad(_node(key, (text + "\0").encode("utf-16-le"), text=True))


def fixed_file_info(version: tuple[int, int, int, int]) -> bytes:
    """VS_FIXEDFILEINFO, 52 bytes."""
    ms, ls = version[0] << 16 | version[1], version[2] << 16 | version[3]
    return struct.pack("<13I", 0xFEEF04BD, 0x10000, ms, ls, ms, ls, 0x3F, 0, 0x40004, 1, 0, 0, 0)


def version_info(build: KernelBuild) -> bytes:
    """VS_VERSIONINFO with the branch in the FileVersion text, as Microsoft's kernels have it."""
    parts = [int(part) for part in build.file_version.split(".")]
    version = (parts[0], parts[1], parts[2], parts[3])
    inner = build.profile.pdb.replace(".pdb", ".exe")
    text = build.file_version if build.branch == "unknown" else f"{build.file_version} ({build.label})"
    strings = b"".join(
        (
            _string("CompanyName", "Microsoft Corporation"),
            _string("FileDescription", "NT Kernel & System"),
            _string("FileVersion", text),
            _string("InternalName", inner),
            _string("LegalCopyright", "\u00a9 Microsoft Corporation. All rights reserved."),
            _string("OriginalFilename", inner),
            _string("ProductName", "Microsoft\u00ae Windows\u00ae Operating System"),
            _string("ProductVersion", build.file_version),
        )
    )
    table = _pad(_node("StringFileInfo", b"", _node("040904B0", b"", strings)))
    translation = _node("Translation", struct.pack("<HH", _ENGLISH, 1200))
    variables = _node("VarFileInfo", b"", translation)
    return _node("VS_VERSION_INFO", fixed_file_info(version), table + variables)


def _directory(identifier: int, target: int) -> bytes:
    """IMAGE_RESOURCE_DIRECTORY with one entry by number."""
    return struct.pack("<IIHHHH", 0, 0, 0, 0, 0, 1) + struct.pack("<II", identifier, target)


def resource_section(rva: int, build: KernelBuild, state: str) -> bytes:
    """The .rsrc contents at `rva`. `absent`: not in memory; `torn`: only the fixed part has survived."""
    if state == "absent":
        return b""
    info = version_info(build)
    if state == "torn":
        kept = info.index(struct.pack("<I", 0xFEEF04BD)) + 52
        info = info[:kept] + bytes((i * 37 + 11) & 0xFF for i in range(len(info) - kept))
    subdirectory, offset = 0x80000000, 0x58
    head = _directory(RT_VERSION, subdirectory | 0x18) + _directory(1, subdirectory | 0x30)
    leaf = _directory(_ENGLISH, 0x48) + struct.pack("<IIII", rva + offset, len(info), 0, 0)
    return head + leaf + info
