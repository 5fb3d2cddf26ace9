"""VMware state files (.vmss, .vmsn). Source: facts/dump-headers.json VMWARE, facts/dump-formats.md 6."""

from __future__ import annotations

from dumpscan.image.layout import layout

MAGICS = (0xBED2BED0, 0xBAD1BAD1, 0xBED2BED2, 0xBED3BED3)

HEADER = layout(12, {"Magic": (0, "u4"), "GroupCount": (8, "u4")})
GROUP = layout(80, {"Name": (0, "S64"), "Offset": (64, "u8"), "Size": (72, "u8")})

# A tag: u8 flags, u8 name length, name, (flags >> 6) & 3 indices of u32, data. The low six bits of
# the flags are the data's length; these two say that two sizes, u16 padding length, padding and a
# long value follow. The sizes are u32 in files of storage version 0, u64 later.
LONG_VALUES = (62, 63)

PAGE = 4096
# Where a virtual machine's memory leaves room for devices: its RAM goes on at 4 GB.
HOLE_START = 0xC0000000
HOLE_END = 0x100000000
