"""What the leaked blocks hold, and plausible filler for everything else.

Witness: facts/tags.md section 1 (IoSe: a DACL of five entries, 108 bytes, or a security descriptor) and
section 2 ('Pp  ': UTF-16 service and instance names expected).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_WORLD = (1, (0,))
_SYSTEM = (5, (18,))
_RESTRICTED = (5, (12,))
_AUTHENTICATED = (5, (11,))
_OWNER = (3, (0,))
_ADMINS = (5, (32, 544))


def _sid(sid: tuple[int, tuple[int, ...]]) -> bytes:
    authority, parts = sid
    return bytes((1, len(parts))) + authority.to_bytes(6, "big") + struct.pack(f"<{len(parts)}I", *parts)


def _acl(entries: tuple[tuple[int, tuple[int, tuple[int, ...]]], ...]) -> bytes:
    aces = b""
    for mask, sid in entries:
        body = struct.pack("<I", mask) + _sid(sid)
        aces += struct.pack("<BBH", 0, 0, 4 + len(body)) + body
    return struct.pack("<BBHHH", 2, 0, 8 + len(aces), len(entries), 0) + aces


def default_dacl() -> bytes:
    """Five access entries, 108 bytes: a pool block of 0x78 bytes on x86."""
    return _acl(
        (
            (0x001200A0, _WORLD),
            (0x001F01FF, _SYSTEM),
            (0x001F01FF, _OWNER),
            (0x001200A9, _RESTRICTED),
            (0x001200A9, _AUTHENTICATED),
        )
    )


def device_descriptor() -> bytes:
    """A self-relative SECURITY_DESCRIPTOR (owner, group, DACL of four entries), 140 bytes."""
    dacl = _acl(
        ((0x001200A0, _WORLD), (0x001F01FF, _SYSTEM), (0x001F01FF, _ADMINS), (0x001200A9, _RESTRICTED))
    )
    owner = 0x14 + len(dacl)
    group = owner + len(_sid(_ADMINS))
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, owner, group, 0, 0x14)
    return head + dacl + _sid(_ADMINS) + _sid(_SYSTEM)


def iose_content(kind: str) -> bytes:
    """`dacl` or `descriptor`."""
    return {"dacl": default_dacl, "descriptor": device_descriptor}[kind]()


def pp_contents(driver: str, count: int) -> list[bytes]:
    """The strings that one load leaves behind, longest first: registry path, then instance paths."""
    service = driver.rsplit(".", 1)[0]
    texts = [f"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\{service}"]
    texts += [f"ROOT\\{service.upper()}\\{number:04d}" for number in range(max(count - 1, 0))]
    return [text.encode("utf-16-le") for text in texts[:count]]


def filler_pages(
    rng: np.random.Generator, pointer: int, base: int, size: int, count: int = 64
) -> NDArray[np.uint8]:
    """Pages of pool-like bytes: zeros, kernel pointers, small numbers, UTF-16 text and noise."""
    dtype = np.dtype("<u4") if pointer == 4 else np.dtype("<u8")
    words = size // pointer
    kind = rng.random((count, words))
    page = np.zeros((count, words), dtype=dtype)
    small = kind > 0.35
    page[small] = rng.integers(0, 0x800, int(small.sum())).astype(dtype)
    pointers = kind > 0.6
    page[pointers] = (
        rng.integers(0, 0x400000, int(pointers.sum())).astype(np.uint64) * np.uint64(8) + np.uint64(base)
    ).astype(dtype)
    noise = kind > 0.85
    page[noise] = rng.integers(0, 2**32, int(noise.sum()), dtype=np.uint64).astype(dtype)
    out = page.view(np.uint8).reshape(count, size)
    text = np.frombuffer(
        "\\Device\\HarddiskVolume1\\WINDOWS\\system32\\drivers".encode("utf-16-le"), dtype=np.uint8
    )
    for row in range(0, count, 3):
        at = int(rng.integers(0, 3900 - len(text))) & ~7
        out[row, at : at + len(text)] = text
    return out
