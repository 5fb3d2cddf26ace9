"""Verdicts for the HTML report: everything filled in by hand, and one that attacks the reader."""

from __future__ import annotations

from dumpscan.model import (
    Drivers,
    Evidence,
    Module,
    Pool,
    PoolLimits,
    PoolUse,
    Reconciliation,
    SignatureResult,
    TagUse,
    Unload,
    Unloads,
    Verdict,
)
from dumpscan.model_pictures import Histogram, MapSegment, Pictures, PoolMap, SizeCount
from dumpscan.records import replace
from tests.report import documents

SCRIPT_TAG = "<scr"
SCRIPT = "<script>alert(1)</script>"
BIDI = "evil\u202egnp.sys"
SHOWN_BIDI = "evil\\u202egnp.sys"

PICTURES = Pictures(
    (
        Histogram("IoSe", "paged", (SizeCount(104, 4), SizeCount(152, 19_547))),
        Histogram("Pp  ", "paged", (SizeCount(48, 19_566), SizeCount(128, 19_543))),
    ),
    (
        PoolMap(
            "paged", 2, {"A": "IoSe", "B": "Pp  ", "C": "CM35"}, {"&": 200, "C": 56, "x": 30, "p": 14},
            (MapSegment("0xe1000000", "&" * 100 + "C" * 28 + "x" * 15 + "p" * 7),),
        ),
        PoolMap("nonpaged", 1, {"C": "NDpp"}, {"C": 5}, (MapSegment("0x81000000", "CC..CCC"),)),
    ),
    1.0,
)  # fmt: skip
TIMELINE = (
    *(Unload("hwmon32.sys", f"2008-05-28T11:59:{second:02}Z") for second in range(8, 55)),
    Unload("aec.sys", "2008-05-28T11:59:54Z"),
)


def full() -> Verdict:
    """Every section has something to show."""
    plain = documents.verdict()
    drivers = Drivers(
        26_015,
        (
            Unloads("hwmon32.sys", 47, "2008-05-28T11:59:08Z", "2008-05-28T11:59:54Z"),
            Unloads("aec.sys", 1, "2008-05-28T11:59:54Z", "2008-05-28T11:59:54Z"),
        ),
        (Module("ntoskrnl.exe", "0x804d7000", 2_065_792, "\\WINDOWS\\system32\\ntkrnlpa.exe"),),
        48,
        TIMELINE,
    )
    nonpaged = TagUse("NDpp", PoolUse(0, 0), PoolUse(100, 50, 50, 300_000), "tracker")
    pool = replace(
        plain.pool,
        tags=(*plain.pool.tags, nonpaged),
        reconciliation=(Reconciliation("IoSe", 3_956_152, 2_972_568, 0, 0, "paged out"),),
        notes=("a note",),
    )
    evidence = (
        Evidence("share", "supports", 0.386, 0.1, "IoSe and 'Pp  ' hold 39 % (threshold: at least 10 %)", ""),
        Evidence("unloads", "unknown", None, 150, "unloads are not known", "MiTotalUnloads at 0x80554034"),
    )
    signature = SignatureResult("KB950162", "present", evidence, "memory leak", (), ("IoSe", "Pp  "))
    return replace(plain, pool=pool, drivers=drivers, signature=signature, pictures=PICTURES)


def hostile() -> Verdict:
    """Markup, control and direction characters wherever a memory image could put them."""
    plain = full()
    tag = TagUse(SCRIPT_TAG, PoolUse(9, 1, 8, 4_900_000), PoolUse(0, 0), "tracker")
    drivers = replace(
        plain.drivers,
        recent=(Unloads(BIDI, 2, "2008-05-28T11:59:08Z", "2008-05-28T11:59:09Z"),),
        loaded=(Module(SCRIPT, "0x1000", 4096, f'\\"><img src=x onerror=alert(1)>\\{BIDI}'),),
        timeline=(Unload(BIDI, "2008-05-28T11:59:08Z"), Unload(BIDI, "2008-05-28T11:59:09Z")),
    )
    evidence = (Evidence("x", "supports", "</script>", None, f"{SCRIPT} {BIDI}", '" onload="alert(1)'),)
    return replace(
        plain,
        image=replace(plain.image, path=f"/tmp/{SCRIPT}/hung.dmp", comment=f"\x1b[31m{SCRIPT}"),
        kernel=replace(plain.kernel, build_lab=SCRIPT, image_name=BIDI),
        pool=replace(plain.pool, tags=(*plain.pool.tags, tag), notes=(SCRIPT,)),
        drivers=drivers,
        signature=replace(plain.signature, evidence=evidence),
        pictures=replace(PICTURES, maps=(replace(PICTURES.maps[0], tags={"C": SCRIPT_TAG}),)),
    )


def bare() -> Verdict:
    """A triage dump: nothing is known of the pools."""
    plain = documents.verdict()
    unknown = Pool("unknown", PoolLimits(), PoolLimits())
    return replace(plain, pool=unknown, drivers=Drivers(), signature=SignatureResult("KB950162", "unknown"))
