"""The verdict on a small (triage) dump: always inconclusive, with what its lists and totals let one say.

Such a dump holds no pool, so that neither tag can be counted: not even a kernel with the fix is cleared,
nor one without it accused. What it can show is a driver that comes and goes, and a full pool.
"""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.model import Fix, Judgement, KernelInfo
from dumpscan.verdict import advice, words
from dumpscan.verdict.article import load_article
from dumpscan.verdict.observe import Observation
from dumpscan.verdict.suspects import find_full

_OFTEN = 3
"""Times in the list from which on a driver is said to come and go."""

_FIX = {
    "vulnerable": "the kernel lacks the fix",
    "prerequisite-missing": "the kernel lacks the fix",
    "fixed": "the kernel has the fix",
    "out-of-scope": "the article does not cover this Windows",
    "unknown": "whether the kernel has the fix is unknown",
}


def conclude(kernel: KernelInfo, fix: Fix, seen: Observation, limits: Mapping[str, float]) -> Judgement:
    """Code, summary and advice. ``limits``: thresholds as for suspects."""
    found = [_FIX[fix.state]]
    full, top, entries = find_full(seen, limits), _again(seen), seen.ring_entries()
    if full is not None:
        found.insert(0, f"{full} pool is {words.percent(seen.fullness(full).shown or 0)} full")
    if top is not None:
        found.insert(0, f"{top[0]} is {top[1]} of the last {entries} unloaded drivers")
    of = f" of {kernel.product}" if kernel.product else ""
    summary = f"a small (triage) dump{of} holds no pool memory; {', '.join(found)}"
    listed, about = _listed(seen), _about_fix(kernel, fix, top is not None)
    if fix.state in ("fixed", "out-of-scope"):
        said = (about, listed, f"If pool runs out all the same, {advice.kernel_dump()}")
    else:
        said = (advice.sentence(advice.kernel_dump()), listed, about)
    return Judgement("inconclusive", summary, " ".join(said))


def _again(seen: Observation) -> tuple[str, int] | None:
    """The driver that comes and goes, with its count in the list."""
    top = seen.most_unloaded()
    return top if top is not None and top[1] >= _OFTEN else None


def _listed(seen: Observation) -> str:
    entries, top = seen.ring_entries(), _again(seen)
    if entries is None:
        return "The dump has no list of unloaded drivers."
    if not entries:
        return "The dump's list of unloaded drivers is empty."
    if top is None:
        return f"The dump's list of {entries} unloaded drivers shows no driver that comes and goes."
    return f"The dump's list of unloaded drivers names {top[0]} {top[1]} times out of {entries}."


def _about_fix(kernel: KernelInfo, fix: Fix, again: bool) -> str:
    if fix.state == "fixed":
        return f"The kernel should not leak this way ({fix.reason})."
    if fix.state == "out-of-scope":
        return f"{advice.sentence(fix.reason)} KB950162 has nothing to install here."
    if again:
        # With the fix missing or unknown, what follows is what a leak that is seen would get.
        return "If the leak is there: " + advice.leak("exhibits", fix, kernel)
    if fix.state == "unknown":
        return f"Whether the kernel has the fix is not known ({fix.reason})."
    return f"The kernel lacks the fix of {load_article().id}, but this dump gives no reason to install it."
