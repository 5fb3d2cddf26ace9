"""A private copy of the real XP SP3 symbol table for runs of volatility3.

Private, because volatility3 2.28 opens the first symbol folder given to it for writing and deletes
the table there when its cache does not know it, even with ``--offline``; running as root, the
read-only mode of ``../shared`` does not stop it. Where the table is missing, it is converted from
the public PDB that lies beside it.
"""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "symbols"
_TABLE = Path("windows/ntkrnlpa.pdb/30B5FB31AE7E4ACAABA750AA241FF331-1.json.xz")
_PDB = Path("pdb/ntkrnlpa-30B5FB31AE7E4ACAABA750AA241FF331-1.pdb")


def private_symbols(folder: Path) -> Path | None:
    """A symbol folder for ``vol -s`` inside ``folder``; None where neither table nor PDB is at hand."""
    target = folder / "symbols" / _TABLE
    if target.is_file():
        return folder / "symbols"
    if not (SHARED / _TABLE).is_file() and not (SHARED / _PDB).is_file():
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    if (SHARED / _TABLE).is_file():
        shutil.copyfile(SHARED / _TABLE, target)
    else:
        target.write_bytes(lzma.compress(_converted(SHARED / _PDB)))
    return folder / "symbols"


def _converted(pdb: Path) -> bytes:
    """The PDB as a volatility3 symbol table, by volatility3's own converter."""
    from volatility3.framework import contexts
    from volatility3.framework.symbols.windows.pdbconv import PdbReader

    table = PdbReader(contexts.Context(), pdb.as_uri(), "ntkrnlpa.pdb").get_json()
    return json.dumps(table).encode("utf-8")
