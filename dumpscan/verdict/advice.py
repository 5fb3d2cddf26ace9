"""What to do next, in sentences: which file of the article to install, or what to capture instead."""

from __future__ import annotations

from dumpscan.model import Drivers, Fix, FixRow, KernelInfo, Pool, SignatureResult, Suspect
from dumpscan.verdict import words
from dumpscan.verdict.article import load_article

_CAPTURE = (
    "capture a kernel or complete memory dump (CrashOnCtrlScroll or NMI, bug check 0xE2) or a VM snapshot"
)
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
            f"{_sentence(fix.reason)} KB950162 has nothing to install here. Find the driver that is loaded "
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
            "article's kernel files applies could not be told (PAE or processor count unknown)."
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


def absent(fix: Fix, suspects: tuple[Suspect, ...]) -> str:
    """Who to look at instead, and whether the hotfix still makes sense."""
    if suspects:
        text = f"Look for the owner of {words.tag(suspects[0].tag)}: {suspects[0].text}."
    else:
        text = (
            "No tag holds an unusual share of a pool: the hang probably has another cause than a pool leak."
        )
    if fix.state == "vulnerable":
        text += (
            f" The kernel lacks the fix of {load_article().id}, but this image gives no reason to install it."
        )
    return text


def unknown(pool: Pool, signature: SignatureResult) -> str:
    """What the image lacks, and how to get it."""
    missing = [evidence.text for evidence in signature.evidence if evidence.outcome == "unknown"]
    text = f"Not in the image: {'; '.join(missing)}. " if missing else ""
    if pool.tagging == "off":
        text += "Turn pool tagging on (gflags /r +ptg, restart) so that allocs and frees are counted. "
    if pool.sample:
        text += "Walk all pool pages of this image (--census pages): the figures are estimates so far. "
    return text + f"For an answer, {_CAPTURE} while the machine hangs, or {_WATCH}."


def triage_summary(kernel: KernelInfo) -> str:
    """One line for a small dump."""
    return f"a small (triage) dump{f' of {kernel.product}' if kernel.product else ''} holds no pool memory"


def triage(drivers: Drivers) -> str:
    """What a small dump does say, and what to capture instead."""
    text = f"Set the machine to write a kernel memory dump (CrashDumpEnabled = 2) and {_CAPTURE}."
    named = sum(entry.count for entry in drivers.recent)
    if not named:
        return text + " The dump's list of unloaded drivers is empty or missing."
    top = max(drivers.recent, key=lambda entry: entry.count)
    if top.count > 2:
        return text + f" Its list of unloaded drivers names {top.name} {top.count} times out of {named}."
    return text + f" Its list of {named} unloaded drivers shows no driver that comes and goes."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
