"""Fixed binary layouts as data: a numpy record type with the offset of every field written out.

A format definition (``c_*.py``) reads like the table in its source: name, offset, type. Types are
numpy's: ``u4`` is a little-endian 32-bit unsigned number, ``>u4`` a big-endian one, ``S16`` text.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Layout = np.dtype[np.void]


def layout(size: int, fields: dict[str, tuple[int, Any]]) -> Layout:
    """A record of ``size`` bytes; ``fields`` maps a name to its byte offset and numpy type."""
    return np.dtype(
        {
            "names": list(fields),
            "offsets": [offset for offset, _ in fields.values()],
            "formats": [kind for _, kind in fields.values()],
            "itemsize": size,
        }
    )
