"""Known builds: products, service pack ranges, PE time stamps and PDB GUIDs.

Witness: facts/kernel-versions.md sections 2, 4 and 5 (GC history [1S]; mischw/fix_symbol_tables,
every GUID checked there), facts/kernel-guids.csv.
"""

from __future__ import annotations

TIMESTAMPS: dict[int, str] = {
    stamp: version
    for version, stamps in {
        "5.1.2600.0": (0x3B7DE38F, 0x3B7DC674, 0x3B7D82F5, 0x3B7D82F9),
        "5.1.2600.1106": (0x3D6DE35C, 0x3D6DD59C),
        "5.1.2600.2180": (0x41108004, 0x41107FAA, 0x41107B0C, 0x41107B0D),
        "5.1.2600.5512": (0x48025EAB, 0x48025DE7, 0x4802516A),
        "5.2.3790.0": (0x3E800A79, 0x3E8015C6, 0x3E800012, 0x3E800013),
        "5.2.3790.1830": (0x42435E33, 0x42435E60, 0x42435B14),
        "5.2.3790.3959": (0x45D6A072, 0x45D6A0AF, 0x45D69710),
        "6.0.6000.16386": (0x4549AD6C, 0x4549AE00),
        "6.0.6001.18000": (0x47918B0A, 0x47918B12),
        "6.0.6002.18005": (0x49E01996, 0x49E0199E),
        "6.1.7600.16385": (0x4A5BBFFC, 0x4A5BC007),
        "6.1.7601.17514": (0x4CE78A06, 0x4CE78A09),
    }.items()
    for stamp in stamps
}
"""PE TimeDateStamp of released kernels -> file version."""

GUIDS: dict[str, str] = {
    "30B5FB31AE7E4ACAABA750AA241FF331": "5.1.2600.5512",
    "8FB67EFA263E45C4BEF1AC0748EC9EB0": "5.1.2600.2622",
    "80B61DF4CE8342FE98E7159D75D41A61": "5.1.2600.3427",
    "CB4676D61D9246D8B33B9BBD557A9C76": "5.1.2600.3520",
    "52F3509AAC394C3F9D1DDFC24BC121FF": "5.1.2600.3670",
    "FD7B256CD2D14BC0B35BA9B89F691346": "5.1.2600.5657",
    "497890CCBAF846F2944EC59C92155043": "5.1.2600.5755",
    "8FD3D6EB00584186B6D3F0FF8027EADE": "5.1.2600.7017",
}
"""RSDS GUID of ntkrnlpa builds -> file version."""

NT_VERSIONS: dict[int, str] = {
    2600: "5.1",
    3790: "5.2",
    6000: "6.0",
    6001: "6.0",
    6002: "6.0",
    7600: "6.1",
    7601: "6.1",
    9200: "6.2",
    9600: "6.3",
}
"""Build number -> NT version, for texts that carry only build and revision. Windows 10: 10.0."""

FIRST_WINDOWS_11 = 22000
SERVERS: dict[int, str] = {
    14393: "2016", 16299: "version 1709", 17134: "version 1803", 17763: "2019", 18362: "version 1903",
    18363: "version 1909", 19041: "version 2004", 19042: "version 20H2", 20348: "2022",
    25398: "version 23H2", 26100: "2025",
}  # fmt: skip
"""Build -> release of Windows Server, from 10.0 on (Microsoft's pages of release information)."""

XP_SERVICE_PACKS: tuple[tuple[int, int, int], ...] = ((1106, 1999, 1), (2180, 3999, 2), (5512, 7999, 3))
"""Revision ranges (first, last, service pack) of 5.1.2600 [INF from the revision table]."""

BUILD_SERVICE_PACKS: dict[int, int] = {6000: 0, 6001: 1, 6002: 2, 7600: 0, 7601: 1}

MULTIPROCESSOR: dict[str, bool] = {"ntoskrnl": False, "ntkrnlpa": False, "ntkrnlmp": True, "ntkrpamp": True}
"""Internal name (version resource, PDB) -> is it a multiprocessor kernel?"""
