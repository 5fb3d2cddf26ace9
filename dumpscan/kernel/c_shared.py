"""KUSER_SHARED_DATA: the page that every process shares with the kernel. Same on 32 and 64 bits.

Witness: facts/kernel-location.md section 5 ([PDB], [2S]).
"""

from __future__ import annotations

INTERRUPT_TIME = 0x8
SYSTEM_TIME = 0x14
"""KSYSTEM_TIME: LowPart u32, High1Time s32, High2Time s32, units of 100 ns."""
BUILD_NUMBER = 0x260
"""Windows 10 and later only."""
PRODUCT_TYPE = 0x264
PRODUCT_TYPE_VALID = 0x268
MAJOR_VERSION = 0x26C
MINOR_VERSION = 0x270
SIZE = 0x338
"""Bytes that every version has (XP SP2); later versions are longer."""
