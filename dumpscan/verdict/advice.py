"""What to do next, in sentences: which file of the article to install, or what to capture instead."""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.model import Drivers, Fix, FixRow, KernelInfo, Pool, Suspect
from dumpscan.verdict import words
from dumpscan.verdict.article import load_article
from dumpscan.verdict.observe import Observation
from dumpscan.verdict.suspects import find_full, find_unlisted

_CAPTURE = (
    "capture a kernel or complete memory dump (CrashOnCtrlScroll or NMI, bug check 0xE2) or a VM snapshot"
)
_TAGGING = "Turn pool tagging on (gflags /r +ptg, restart) so that allocs and frees are counted."
_WHO = "Compare two images taken hours apart (dumpscan compare) to see what grows."
_WATCH = "watch IoSe and 'Pp  ' with PoolMon while drivers load and unload"


def leak(code: str, fix: Fix, kernel: KernelInfo) -> str:
    """Advice for a signature in memory, by verdict code and fix state."""
    if fix.state == "prerequisite-missing":
        return (
            f"Install Windows XP Service Pack 3 (or 2) first: {fix.reason}. Service Pack 3 does not contain "
            f"the fix; then install hotfix {load_article().id} and restart."
        )
    if fix.state == "fixed":
        return (
            f"The kernel should not leak this way ({fix.reason}). Check that the dump is of the machine as "
            "it runs now, and look for a driver that holds these tags: "
            + ("take two images hours apart and compare them." if code == "inconclusive" else f"{_WATCH}.")
        )
    if fix.state == "out-of-scope":
        return (
            f"{sentence(fix.reason)} KB950162 has nothing to install here. Find the driver that is loaded "
            f"and unloaded over and over and stop that; {_WATCH}."
        )
    if fix.state == "unknown":
        return (
            f"First find out the kernel's file version and branch ({fix.reason}). If it is older than "
            f"{fix.fixed_version or 'the hotfix'} or a GDR file: " + install(fix.row, kernel)
        )
    return install(fix.row, kernel)


def install(row: FixRow | None, kernel: KernelInfo) -> str:
    """The exact file of the article, its packages, its prerequisite and the restart."""
    article = load_article()
    if row is None:
        return (
            f"Install hotfix {article.id} ({article.url}) for this service pack and restart. Which of the "
            f"article's kernel files applies could not be told{_untold(kernel)}."
        )
    text = (
        f"Install hotfix {article.id}: {row.file} {row.version}, {row.size:,} bytes, {row.date} {row.time} "
        f"UTC ({row.table}"
        + (f", requires {row.sp_requirement}" if row.sp_requirement else "")
        + f"). {row.prerequisite} {row.restart}"
    )
    shipped = [name for name in row.packages if name.endswith(".mum")]
    if shipped:
        text += f" Packages: {', '.join(shipped)}."
    return text + " Until then, stop what loads and unloads drivers repeatedly; a restart empties the pool."


def _untold(kernel: KernelInfo) -> str:
    """Which of the two facts is missing that tell an x86 kernel's file."""
    open_questions = [
        what
        for what, known in (("PAE", kernel.pae), ("uniprocessor or multiprocessor", kernel.multiprocessor))
        if known is None
    ]
    return f" (unknown: {', '.join(open_questions)})" if open_questions else ""


def absent(
    fix: Fix, suspects: tuple[Suspect, ...], seen: Observation, limits: Mapping[str, float] | None = None
) -> str:
    """Who to look at instead, and whether the hotfix still makes sense. ``limits``: as for suspects."""
    unlisted, full, said = find_unlisted(seen, suspects, limits), find_full(seen, limits), []
    if unlisted is not None:
        said.append(
            f"{sentence(unlisted.text)} {words.count(unlisted.blocks)} allocations, "
            f"{words.size(unlisted.bytes)}: no table in this image says whose they are. "
            + (_TAGGING if seen.pool.tagging == "off" else _WHO)
        )
    if suspects:
        said.append(f"Look for the owner of {words.tag(suspects[0].tag)}: {suspects[0].text}.")
    elif full is not None and unlisted is None:
        share = words.percent(seen.fullness(full).shown or 0)
        said.append(
            f"{sentence(f'{full} pool is {share} full and no tag explains it')} Either many tags hold their "
            "usual part of a small pool, or what fills it is not in the image. "
            + (_TAGGING if seen.pool.tagging == "off" else _WHO)
        )
    elif unlisted is None:
        said.append(
            "No tag holds an unusual share of a pool: the hang probably has another cause than a pool leak."
        )
    if fix.state == "vulnerable":
        said.append(
            f"The kernel lacks the fix of {load_article().id}, but this image gives no reason to install it."
        )
    return " ".join(said)


def compare_two(pool: Pool) -> str:
    """The numbers of one image do not decide."""
    return (
        "Take a second image of the same boot after some more driver loads and unloads, and compare the two "
        f"(dumpscan compare), or {_WATCH}." + (f" {_TAGGING}" if pool.tagging == "off" else "")
    )


def unknown(pool: Pool, drivers: Drivers) -> str:
    """What the image lacks, each source once, and how to get it."""
    lacking = missing(pool, drivers)
    text = f"Not in the image: {'; '.join(lacking)}. " if lacking else ""
    if pool.tagging == "off":
        text += f"{_TAGGING} "
    if pool.sample:
        text += "Walk all pool pages of this image (--census pages): the figures are estimates so far. "
    return text + f"For an answer, {_CAPTURE} while the machine hangs, or {_WATCH}."


def missing(pool: Pool, drivers: Drivers) -> list[str]:
    """What the image lacks, by source."""
    covered, lacking = pool.coverage, []
    if covered.tracker is None and not any(use.source == "tracker" for use in pool.tags):
        lacking.append("the pool tracker's counters of allocations and frees")
    elif covered.tracker is not None and covered.tracker < 1:
        lacking.append(f"{words.percent(1 - covered.tracker)} of the pool tracker's tables")
    if lacking and covered.paged_pages is None:
        lacking.append("paged pool's pages")
    elif covered.paged_pages is not None and covered.paged_pages < 1:
        lacking.append(f"{words.percent(1 - covered.paged_pages)} of paged pool's pages")
    if drivers.unloads_total is None:
        lacking.append("the count of driver unloads")
    if drivers.ring_entries is None and not drivers.recent:
        lacking.append("the list of unloaded drivers")
    return lacking


def kernel_dump() -> str:
    """How to get what a small dump lacks, as a clause with its full stop."""
    return (
        f"set the machine to write a kernel memory dump (CrashDumpEnabled = 2) and {_CAPTURE} while it "
        f"hangs, or {_WATCH}: the leak itself shows only in pool memory."
    )


def sentence(text: str) -> str:
    """A clause with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
