"""The XP SP3 sample's debugger block says what the real kernel's says, so that real symbols fit it.

Witness: the field "xp_sp3_ntkrnlpa_rva" of facts/kdbg.json (public PDB of ntkrnlpa 5.1.2600.5512).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from samples import Machine

from .conftest import machine
from .walk import Walker

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "kdbg.json"
BASE = 0x804D7000


def block(raw: Callable[[Machine], Walker]) -> bytes:
    """KDBG of the sample, read with the tests' own reader: 0x290 bytes at RVA 0x6eae0."""
    return raw(machine("xpsp3-x86-pae")).read(BASE + 0x6EAE0, 0x290)


def pointer(kdbg: bytes, offset: int) -> int:
    return int.from_bytes(kdbg[offset : offset + 4], "little")


@pytest.mark.parametrize(
    ("offset", "rva"),
    [
        pytest.param(0x108, 0x81920, id="MmNonPagedSystemStart"),
        pytest.param(0x1B8, 0x85600, id="PoolTrackTable"),
        pytest.param(0x218, 0x7BE40, id="KiProcessorBlock"),
        pytest.param(0x240, 0x75688, id="KernelVerifier"),
    ],
)
def test_fields_stated_by_hand(raw: Callable[[Machine], Walker], offset: int, rva: int) -> None:
    assert pointer(block(raw), offset) == BASE + rva


def test_every_field_of_the_facts(raw: Callable[[Machine], Walker]) -> None:
    if not FACTS.exists():
        pytest.skip("needs ../shared/facts/kdbg.json")
    fields = json.loads(FACTS.read_text("utf-8"))["KDDEBUGGER_DATA64"]["fields"]
    said = {f["name"]: f for f in fields if "xp_sp3_ntkrnlpa_rva" in f and f["offset"] + 8 <= 0x290}
    assert len(said) > 50
    kdbg = block(raw)
    wrong = {
        name: hex(pointer(kdbg, field["offset"]))
        for name, field in said.items()
        if pointer(kdbg, field["offset"]) != BASE + field["xp_sp3_ntkrnlpa_rva"]
    }
    assert not wrong
