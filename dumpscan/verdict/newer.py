"""The answer for a kernel whose pool figures only symbols lead to (Windows 8 and later), without any."""

from __future__ import annotations

from dumpscan.model import Judgement, KernelInfo, Pool

_OPTION = "--symbols"


def without_symbols(kernel: KernelInfo, pool: Pool) -> Judgement | None:
    """Inconclusive, with what to give; None where symbols are not what is missing."""
    asked = next((note for note in kernel.notes if _OPTION in note), None)
    if asked is None or pool.tags or kernel.pdb is None:
        return None
    pdb = kernel.pdb
    return Judgement(
        "inconclusive",
        f"the pool figures of {kernel.product or 'this Windows'} cannot be found without symbols "
        f"({pdb.name} {pdb.guid} age {pdb.age})",
        f"No new image is needed. {asked[:1].upper() + asked[1:]}. Microsoft's public symbol server "
        f"has it as {pdb.name}/{pdb.guid}{pdb.age:X}/{pdb.name}. KB950162 itself is about Windows XP and "
        "Windows Vista.",
    )
