"""PDB file -> symbol table, by volatility3's converter. Loaded only when a PDB has to be converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from volatility3.framework import contexts, exceptions
from volatility3.framework.symbols.windows.pdbconv import PdbReader


def convert(path: Path, progress: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """The PDB at ``path`` in volatility3's intermediate format. The kernel's take up to minutes.

    :raises ValueError: the converter cannot read the file.
    """

    def report(percent: float, _what: str | None = None) -> None:
        if progress is not None:
            progress(f"converting {path.name}", round(percent), 100)

    try:
        reader = PdbReader(contexts.Context(), path.resolve().as_uri(), None, report)
        table: dict[str, Any] = reader.get_json()
    except Exception as error:  # Damaged files make the converter fail in too many ways to name.
        if isinstance(error, (MemoryError, OSError)):
            raise
        what = "not a sound PDB" if isinstance(error, exceptions.VolatilityException) else "damaged"
        raise ValueError(f"{what}: {error}") from None
    return table
