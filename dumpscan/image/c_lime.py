"""LiME chunk headers. Source: facts/dump-headers.json LIME, AVML (two sources each)."""

from __future__ import annotations

from dumpscan.image.layout import layout

LIME_MAGIC = 0x4C694D45
LIME_VERSION = 1
AVML_MAGIC = 0x4C4D5641
AVML_VERSION = 2

# LiME: e_addr is the last address, inclusive. AVML has the same fields.
CHUNK = layout(
    32,
    {
        "magic": (0, "u4"),
        "version": (4, "u4"),
        "s_addr": (8, "u8"),
        "e_addr": (16, "u8"),
        "reserved": (24, "u8"),
    },
)
