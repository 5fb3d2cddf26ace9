"""HPAK, the container of HBGary's FastDump. Source: volatility (v2) plugins/addrspaces/hpak.py and its
wiki (one source; no file at hand). What lies between the fields is not known.
"""

from __future__ import annotations

from dumpscan.image.layout import layout

FIRST_SECTION = 0x20
SECTION = layout(
    0xE0,
    {
        "Header": (0x0, "S32"),
        "Compressed": (0x8C, "u4"),
        "Length": (0x98, "u8"),
        "Offset": (0xA8, "u8"),
        "NextSection": (0xB0, "u8"),
    },
)
MARK = b"HPAKSECT"
MEMORY = b"HPAKSECTHPAK_SECTION_PHYSDUMP"
PAGE_FILE = b"HPAKSECTHPAK_SECTION_PAGEDUMP"
