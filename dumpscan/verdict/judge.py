"""The verdict: the fix state and the signature together, in one word, one line and one advice.

Rules: docs/result-document.md (contract of ``dumpscan.verdict/1``). A present signature on a
vulnerable kernel exhibits; on a kernel that has the fix, or that the article does not cover, it is
unexpected; where the image cannot say, the verdict is inconclusive and names what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.model import (
    Drivers,
    Fix,
    ImageInfo,
    Judgement,
    KernelInfo,
    Machine,
    Pool,
    SignatureResult,
    Suspect,
    Tool,
    Verdict,
)
from dumpscan.verdict import advice, newer, smalldump, words
from dumpscan.verdict.fixstate import decide
from dumpscan.verdict.observe import Observation
from dumpscan.verdict.settings import Settings
from dumpscan.verdict.signature import evaluate
from dumpscan.verdict.suspects import find_full, find_suspects, find_unlisted

__all__ = ["Settings", "conclude", "judge"]

# A fixed or uncovered kernel with small numbers is no "unexpected": too weak to accuse the fix.
_ENOUGH = 0.5
CODES = {
    ("present", "vulnerable"): "exhibits",
    ("present", "prerequisite-missing"): "exhibits",
    ("present", "unknown"): "exhibits",
    ("present", "fixed"): "unexpected",
    ("present", "out-of-scope"): "unexpected",
    ("early", "vulnerable"): "exhibits",
    ("early", "prerequisite-missing"): "exhibits",
    ("early", "unknown"): "inconclusive",
    ("early", "fixed"): "inconclusive",
    ("early", "out-of-scope"): "inconclusive",
}


def judge(
    image: ImageInfo,
    kernel: KernelInfo,
    machine: Machine,
    pool: Pool,
    drivers: Drivers,
    *,
    settings: Settings | None = None,
    where: Mapping[str, str] | None = None,
    tool: Tool | None = None,
) -> Verdict:
    """Return the whole answer for one image.

    ``where`` maps a tag, ``unloads``, ``ring``, ``paged`` or ``nonpaged`` to the place in memory
    that its figures were read from; it is printed with the evidence.
    """
    settings = settings or Settings()
    fix = decide(kernel)
    main, *others = (evaluate(signature, pool, drivers, where) for signature in settings.chosen())
    explained = {
        tag
        for signature, result in zip(settings.chosen(), (main, *others), strict=True)
        if result.state in ("present", "early")
        for tag in signature.tags
    }
    suspects = find_suspects(pool, drivers, explained, settings.suspects)
    return Verdict(
        image=image,
        kernel=kernel,
        machine=machine,
        pool=pool,
        drivers=drivers,
        fix=fix,
        signature=main,
        suspects=suspects,
        verdict=conclude(image, kernel, pool, drivers, fix, main, suspects, settings),
        tool=tool or Tool(),
        other_signatures=tuple(others),
    )


def conclude(
    image: ImageInfo,
    kernel: KernelInfo,
    pool: Pool,
    drivers: Drivers,
    fix: Fix,
    signature: SignatureResult,
    suspects: tuple[Suspect, ...],
    settings: Settings,
) -> Judgement:
    """Return code, summary and advice from the parts."""
    seen = Observation(pool, drivers)
    tags = settings.chosen()[0].tags
    if image.format.startswith("triage"):
        return smalldump.conclude(kernel, fix, seen, settings.suspects)
    if signature.state == "absent":
        return Judgement(
            "does-not-exhibit",
            _absent_summary(seen, tags, suspects, settings.suspects),
            advice.absent(fix, suspects, seen, settings.suspects),
        )
    if signature.state == "unknown":
        if _in_step_but_freed(signature):
            about = f"{_counts(seen, tags)}: numbers in step but freed often: compare two images"
            return Judgement("inconclusive", about, advice.compare_two(pool))
        return newer.without_symbols(kernel, pool) or Judgement(
            "inconclusive", _unknown_summary(pool), advice.unknown(pool, drivers)
        )
    code = CODES[signature.state, fix.state]
    return Judgement(code, _leak_summary(signature.state, fix, seen, tags), advice.leak(code, fix, kernel))


def _leak_summary(state: str, fix: Fix, seen: Observation, tags: tuple[str, ...]) -> str:
    names = words.joined([words.tag(tag) for tag in tags])
    pool = seen.main_pool(tags[0])
    share, full = seen.share(tags).shown, seen.fullness(pool).shown
    if state == "present" and share is not None:
        about = "about " if seen.sample(pool) is not None else ""
        text = f"{names} hold {about}{words.percent(share)} of {pool} pool"
    else:
        text = f"{names} {'grow with driver unloads' if state == 'early' else 'leak'}: {_counts(seen, tags)}"
    if full is not None:
        text += f", {pool} pool is {words.percent(full)} full"
    if fix.state == "fixed":
        text += ", although the kernel has the fix"
    elif fix.state == "out-of-scope":
        text += ", on a Windows that the article does not cover"
    elif fix.state == "unknown":
        text += "; whether the kernel has the fix is unknown"
    return text


def _counts(seen: Observation, tags: tuple[str, ...]) -> str:
    found = [(tag, seen.outstanding(tag).shown) for tag in tags]
    return ", ".join(f"{words.tag(t)} {words.count(n)}" for t, n in found if n is not None) + " outstanding"


def _in_step_but_freed(signature: SignatureResult) -> bool:
    """Whether the figures are there, but too small and too often freed to tell (state ``unknown``)."""
    told = {evidence.id: evidence.outcome for evidence in signature.evidence}
    grown = [told.get(name) for name in ("iose-early", "pp-early", "one-driver-again-and-again")]
    freed = [told.get(name) for name in ("iose-hardly-freed", "pp-hardly-freed")]
    return grown == ["supports"] * 3 and "contradicts" in freed


def _absent_summary(
    seen: Observation,
    tags: tuple[str, ...],
    suspects: tuple[Suspect, ...],
    limits: Mapping[str, float],
) -> str:
    unlisted, fuller = find_unlisted(seen, suspects, limits), find_full(seen, limits)
    if unlisted is not None:
        full = seen.fullness(unlisted.pool).shown
        text = f"not this leak: {unlisted.text}"
        return text + (f", {unlisted.pool} pool is {words.percent(full)} full" if full is not None else "")
    if suspects:
        top = suspects[0]
        held = f"{words.percent(top.share)} of" if top.share is not None else f"{words.size(top.bytes)} of"
        text = f"not this leak: {words.tag(top.tag)} holds {held} {top.pool} pool"
        full = seen.fullness(top.pool).shown
        return text + (f", {top.pool} pool is {words.percent(full)} full" if full is not None else "")
    pool = fuller or "paged"
    full = seen.fullness(pool).shown
    text = f"{'not this leak' if fuller else 'no leak in memory'} ({_counts(seen, tags)})"
    return text + (f", {pool} pool is {words.percent(full)} full" if full is not None else "")


def _unknown_summary(pool: Pool) -> str:
    if not pool.tags:
        return "the image holds no pool figures by tag"
    covered = pool.coverage
    if covered.tracker is not None and covered.tracker < 1:
        return f"only {words.percent(covered.tracker)} of the tracker tables are in the image"
    if pool.sample and (covered.paged_pages or 0) >= _ENOUGH:
        return "the sample of pool pages is too small to tell: a walk of all of them would (--census pages)"
    if covered.paged_pages is not None and pool.tags[0].source != "tracker":
        return f"only {words.percent(covered.paged_pages)} of paged pool is in the image"
    return "the pool figures in the image are too small or too incomplete to tell"
