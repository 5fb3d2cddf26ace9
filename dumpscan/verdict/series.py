"""The verdict over several images of one boot: does the leak grow with driver unloads?

Growth of the signature's tags with unloads is the article's own symptom and outweighs what a single
image's levels say; the rules are data (``[series]`` of a signature). Where the series cannot tell,
the last image's own verdict stands. Answers are three-valued, and differences of bounded counts stay
bounded: counts of a walk may hide blocks that are paged out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dumpscan.model import Evidence, Judgement, SignatureResult, Verdict
from dumpscan.records import replace
from dumpscan.verdict import advice, words
from dumpscan.verdict.judge import CODES
from dumpscan.verdict.observe import RING_SLOTS, UNKNOWN, Bounds, Observation, exact
from dumpscan.verdict.rules import Condition, SeriesRules, Signature
from dumpscan.verdict.settings import Settings
from dumpscan.verdict.signature import Truth, explain, whole_number


class Series(NamedTuple):
    """Verdicts in time order, hours since the first (None: unknown), whether they are of one boot,
    and when each pool is full (ISO 8601 or None)."""

    verdicts: tuple[Verdict, ...]
    hours: tuple[float, ...] | None
    same_boot: bool | None
    full_at: Mapping[str, str | None]


class _Answer(NamedTuple):
    condition: Condition
    bounds: Bounds
    truth: Truth
    text: str


def judge_series(series: Series, settings: Settings | None = None) -> tuple[SignatureResult, Judgement]:
    """The state of the deciding signature over the series, and the verdict that follows."""
    signature = (settings or Settings()).chosen()[0]
    last = series.verdicts[-1]
    if signature.series is None or series.same_boot is False:
        return last.signature, _single(series)
    answers = {c.id: _ask(signature, c, series) for c in signature.series.conditions}
    state = _state(signature.series, {name: answer.truth for name, answer in answers.items()})
    result = _result(signature, last.signature, state, tuple(answers.values()))
    if state == "unknown":
        return result, _single(series)
    return result, _conclude(signature, series, state, answers)


def _state(rules: SeriesRules, truths: Mapping[str, Truth]) -> str:
    for name, tree in rules.states:
        if explain(tree, truths).truth:
            return name
    return "unknown"


def _result(
    signature: Signature, last: SignatureResult, state: str, answers: tuple[_Answer, ...]
) -> SignatureResult:
    """The series' evidence first; what the last image alone says against it then counts no more."""
    mine = tuple(_evidence(signature, answer) for answer in answers if answer.condition.role != "internal")
    if state == "unknown":
        return replace(last, evidence=(*mine, *last.evidence))
    against = "contradicts" if state == "present" else "supports"
    theirs = (replace(e, outcome="neutral") if e.outcome == against else e for e in last.evidence)
    return replace(last, state=state, evidence=(*mine, *theirs))


def _evidence(signature: Signature, answer: _Answer) -> Evidence:
    c = answer.condition
    outcome = {True: "supports", False: "contradicts", None: "unknown"}[answer.truth]
    if outcome == "contradicts" and c.role == "corroborates":
        outcome = "neutral"
    limit = c.at_least or c.at_most
    shown = answer.bounds.shown
    value = None if shown is None else (int(shown) if float(shown).is_integer() else round(shown, 4))
    return Evidence(
        f"series-{c.id}", outcome, value, signature.value(limit) if limit else None, answer.text, "all images"
    )


# -- conditions --------------------------------------------------------------------------------------


def _ask(signature: Signature, c: Condition, series: Series) -> _Answer:
    if c.measure == "growth_whole":
        return _ask_whole(signature, c, series)
    bounds, text = _MEASURES[c.measure](c, series)
    if c.at_least is not None:
        limit = signature.value(c.at_least)
        truth, side = bounds.at_least(limit), "at least"
    else:
        limit = signature.value(c.at_most or "")
        truth, side = bounds.at_most(limit), "at most"
    if bounds.shown is not None:
        not_reached = "" if truth else ("; cannot be told" if truth is None else ", not so")
        text += f" (threshold: {side} {words.count(limit)}{not_reached})"
    return _Answer(c, bounds, truth, text)


def growth_of(tag: str, series: Series, pool: str = "any") -> Bounds:
    """Outstanding in the last image minus the first."""
    first, last = (Observation(v.pool, v.drivers) for v in (series.verdicts[0], series.verdicts[-1]))
    chosen = last.main_pool(tag, pool)
    if first.source(tag) != last.source(tag):
        return UNKNOWN
    a, b = first.outstanding(tag, chosen), last.outstanding(tag, chosen)
    low = b.low - a.high if b.low is not None and a.high is not None else None
    high = b.high - a.low if b.high is not None and a.low is not None else None
    shown = b.shown - a.shown if b.shown is not None and a.shown is not None else None
    return Bounds(low, high, shown)


def unloads_of(series: Series) -> Bounds:
    """Driver unloads between the first and the last image; a lower bound where only names are kept."""
    first, last = series.verdicts[0], series.verdicts[-1]
    if first.drivers.unloads_total is not None and last.drivers.unloads_total is not None:
        return exact(last.drivers.unloads_total - first.drivers.unloads_total)
    entries = last.drivers.ring_entries
    since = first.machine.system_time
    if entries is None or since is None:
        return UNKNOWN
    after = 0
    for entry in last.drivers.recent:
        if entry.first and entry.first > since:
            after += entry.count
        elif entry.last and entry.last > since:
            after += 1
    return Bounds(after, None if entries >= RING_SLOTS else entries, after)


def _growth(c: Condition, series: Series) -> tuple[Bounds, str]:
    bounds = growth_of(c.tags[0], series, c.pool)
    if bounds.shown is None:
        return bounds, f"{words.tag(c.tags[0])}: its growth is not known"
    change = f"{'grew by' if bounds.shown >= 0 else 'fell by'} {words.count(abs(bounds.shown))} blocks"
    text = f"{words.tag(c.tags[0])} {change}"
    if series.hours:
        text += f" in {words.count(round(series.hours[-1], 1))} hours"
    return bounds, text


def _per_unload(c: Condition, series: Series) -> tuple[Bounds, str]:
    grown, unloads = growth_of(c.tags[0], series, c.pool), unloads_of(series)
    tag = words.tag(c.tags[0])
    if grown.low is None or grown.high is None or unloads.low != unloads.high or not unloads.shown:
        return UNKNOWN, f"{tag}: blocks for each further driver unload are not known"
    number = unloads.shown
    bounds = Bounds(grown.low / number, grown.high / number, (grown.shown or 0) / number)
    return bounds, f"{tag}: {words.count(round(bounds.shown or 0, 2))} more for each driver unload"


def _unloads(c: Condition, series: Series) -> tuple[Bounds, str]:
    bounds = unloads_of(series)
    if bounds.shown is None:
        return bounds, "driver unloads between the images are not known"
    number = words.count(bounds.shown) if bounds.low == bounds.high else f"at least {bounds.shown:,.0f}"
    return bounds, f"{number} driver unloads between the first and the last image"


_MEASURES = {"growth": _growth, "growth_per_unload": _per_unload, "unload_growth": _unloads}


def _ask_whole(signature: Signature, c: Condition, series: Series) -> _Answer:
    tag, per = words.tag(c.tags[0]), c.per or ""
    blocks = growth_of(c.tags[0], series, c.pool).shown
    unit = (unloads_of(series) if per == "unloads" else growth_of(per, series)).shown
    each = "driver unload" if per == "unloads" else f"block of {words.tag(per)}"
    if blocks is None or unit is None or unit <= 0:
        return _Answer(c, UNKNOWN, None, f"{tag}: how many more for each further {each} is not known")
    number = whole_number(
        blocks,
        unit,
        most=signature.value(c.at_most or ""),
        baseline=signature.value(c.baseline) if c.baseline else 0,
        tolerance=signature.value(c.tolerance) if c.tolerance else 0,
    )
    text = f"{tag}: {words.count(round(blocks / unit, 2))} more for each further {each}"
    text += "" if number is None else ", in step"
    return _Answer(c, exact(blocks / unit), number is not None, text)


# -- conclusion --------------------------------------------------------------------------------------


def _single(series: Series) -> Judgement:
    """What the last image says alone."""
    last, count = series.verdicts[-1].verdict, len(series.verdicts)
    why = (
        "not of one boot: no growth can be judged"
        if series.same_boot is False
        else "whether it grows with driver unloads these images do not show"
    )
    return Judgement(last.code, f"last of {count} images: {last.summary}; {why}", last.advice)


def _conclude(signature: Signature, series: Series, state: str, answers: Mapping[str, _Answer]) -> Judgement:
    last = series.verdicts[-1]
    if state == "absent":
        said = advice.absent(last.fix, last.suspects, Observation(last.pool, last.drivers))
        return Judgement("does-not-exhibit", _flat(signature, series), said)
    code = CODES["present", last.fix.state]
    return Judgement(code, _grows(signature, series), advice.leak(code, last.fix, last.kernel))


def _grows(signature: Signature, series: Series) -> str:
    names = words.joined([words.tag(tag) for tag in signature.tags])
    grown = [growth_of(tag, series).shown or 0 for tag in signature.tags]
    text = f"{names} grow"
    if series.hours:
        rates = [words.count(round(number / series.hours[-1])) for number in grown]
        text += f" by {words.joined(rates)} blocks an hour"
    else:
        text += f" by {words.joined([words.count(number) for number in grown])} blocks"
    unloads = unloads_of(series)
    if unloads.shown and unloads.low == unloads.high:
        each = [words.count(round(number / unloads.shown, 2)) for number in grown]
        text += f", {words.joined(each)} for each driver unload"
    last = series.verdicts[-1]
    seen = Observation(last.pool, last.drivers)
    pool = seen.main_pool(signature.tags[0])
    if series.full_at.get(pool):
        text += f"; {pool} pool {_full(series.full_at[pool] or '', last.machine.system_time or '')}"
    return text + _despite(series.verdicts[-1].fix.state)


def _full(when: str, last: str) -> str:
    """When a pool is full, in words; both are ISO 8601 in UTC, whose order is that of time."""
    words_of = f"{when[:10]} at {when[11:16]} UTC"
    return f"was full on {words_of}" if when <= last else f"is full on {words_of} at this rate"


def _despite(fix_state: str) -> str:
    return {
        "fixed": ", although the kernel has the fix",
        "out-of-scope": ", on a Windows that the article does not cover",
        "unknown": "; whether the kernel has the fix is unknown",
    }.get(fix_state, "")


def _flat(signature: Signature, series: Series) -> str:
    grown = [growth_of(tag, series).shown for tag in signature.tags]
    shown = [
        f"{words.tag(tag)} {number:+,.0f}"
        for tag, number in zip(signature.tags, grown, strict=True)
        if number is not None
    ]
    unloads = unloads_of(series)
    at_least = "" if unloads.low == unloads.high else "at least "
    count = words.count(unloads.shown or 0)
    text = f"no growth of both tags with {at_least}{count} driver unloads ({', '.join(shown)} blocks)"
    suspects = series.verdicts[-1].suspects
    if suspects:
        text += f"; look at {words.tag(suspects[0].tag)}"
    return text
