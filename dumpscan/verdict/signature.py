"""Is a leak in memory? Evaluates a signature on an observation and returns the explanation with it.

Answers are three-valued (yes, no, unknown) all the way up: a state that hangs on a page that is
not in the image is unknown, never absent. No reader is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from dumpscan.model import Drivers, Evidence, Pool, SignatureResult, TagUse
from dumpscan.verdict import words
from dumpscan.verdict.observe import UNKNOWN, Bounds, Observation
from dumpscan.verdict.rules import Condition, Signature, Tree

Truth = bool | None


class Finding(NamedTuple):
    """The answer to one condition: the evidence, and the truth that the states are built from."""

    condition: Condition
    truth: Truth
    evidence: Evidence


class Reading(NamedTuple):
    """A measured figure with its sentence. ``weak``: too little of it to count against anything;
    ``seen``: what the figure was taken from."""

    bounds: Bounds
    sentence: str
    weak: bool = False
    seen: str = "image"


class Node(NamedTuple):
    """One node of the explanation tree."""

    label: str
    truth: Truth
    children: tuple[Node, ...] = ()


class Match(NamedTuple):
    """State of a signature with its whole explanation. ``trees`` maps a state to its tree."""

    state: str
    findings: tuple[Finding, ...]
    trees: Mapping[str, Node]


def evaluate(
    signature: Signature, pool: Pool, drivers: Drivers, where: Mapping[str, str] | None = None
) -> SignatureResult:
    """Return the state of ``signature``. ``where`` maps a tag, ``unloads``, ``ring``, ``paged`` or
    ``nonpaged`` to the place in memory that its figures were read from."""
    minimum = signature.value(signature.minimum_coverage) if signature.minimum_coverage else 0.5
    observation = Observation(pool, drivers, minimum)
    found = match(signature, observation, where or {})
    return SignatureResult(
        id=signature.id,
        state=found.state,
        evidence=_worth_telling(signature, found),
        title=signature.title,
        related=related(signature, pool),
        tags=signature.tags,
    )


def match(signature: Signature, observation: Observation, where: Mapping[str, str]) -> Match:
    """Evaluate every condition once, then the states from the strongest on."""
    findings = {c.id: _ask(signature, c, observation, where) for c in signature.conditions}
    truths = {name: finding.truth for name, finding in findings.items()}
    trees = {state: explain(tree, truths) for state, tree in signature.states}
    state = next((state for state, node in trees.items() if node.truth), None)
    if state is None:
        unsure = any(node.truth is None for node in trees.values())
        state = "unknown" if unsure else "absent"
    return Match(state, tuple(findings.values()), trees)


def explain(tree: Tree, truths: Mapping[str, Truth]) -> Node:
    """Evaluate a tree in three-valued logic and keep every intermediate answer."""
    if tree.operator == "is":
        return Node(tree.condition, truths[tree.condition])
    children = tuple(explain(child, truths) for child in tree.children)
    answers = [child.truth for child in children]
    return Node(tree.operator, _OPERATORS[tree.operator](answers), children)


def _all(answers: list[Truth]) -> Truth:
    return False if False in answers else (None if None in answers else True)


def _any(answers: list[Truth]) -> Truth:
    return True if True in answers else (None if None in answers else False)


def _first(answers: list[Truth]) -> Truth:
    return next((answer for answer in answers if answer is not None), None)


def _not(answers: list[Truth]) -> Truth:
    return None if answers[0] is None else not answers[0]


_OPERATORS: dict[str, Callable[[list[Truth]], Truth]] = {
    "all": _all,
    "any": _any,
    "first": _first,
    "not": _not,
}


def related(signature: Signature, pool: Pool) -> tuple[TagUse, ...]:
    """Tags of the same component that are in use (``Pp??``), without the signature's own."""
    return tuple(
        use
        for use in pool.tags
        if use.tag not in signature.tags
        and any(fnmatchcase(use.tag, glob) for glob in signature.related)
        and (use.paged.outstanding or use.nonpaged.outstanding)
    )


def _worth_telling(signature: Signature, found: Match) -> tuple[Evidence, ...]:
    """Every finding, but of two thresholds on one figure only those that the state hangs on."""
    decided = {name for state, tree in signature.states if state == found.state for name in tree.conditions()}
    asked: dict[tuple[str, tuple[str, ...]], list[Finding]] = {}
    for finding in found.findings:
        if finding.condition.role != "internal":
            asked.setdefault((finding.condition.measure, finding.condition.tags), []).append(finding)
    told = []
    for (measure, _), group in asked.items():
        chosen = [f for f in group if f.condition.id in decided] if measure == "outstanding" else []
        told.extend(chosen or group)
    by_text = {finding.evidence.text: finding.evidence for finding in reversed(told)}
    return tuple(reversed(by_text.values()))


# -- one condition -----------------------------------------------------------------------------


def _ask(signature: Signature, c: Condition, seen: Observation, where: Mapping[str, str]) -> Finding:
    if c.measure == "walked":
        truth, reading = seen.walked(c.tags[0]), Reading(UNKNOWN, "counted by walking pages")
    elif c.measure == "whole":
        truth, reading = _ask_whole(signature, c, seen)
    else:
        reading = _MEASURES[c.measure](signature, c, seen)
        truth = False if reading.weak else _compare(signature, c, reading.bounds)
    limit = c.at_least or c.at_most
    evidence = Evidence(
        id=c.id,
        outcome="neutral" if reading.weak else _outcome(c, truth),
        value=_tidy(reading.bounds.shown),
        threshold=signature.value(limit) if limit else None,
        text=reading.sentence + _comparison(signature, c, truth, reading),
        where=_where(c, seen, where),
    )
    return Finding(c, truth, evidence)


def _compare(signature: Signature, c: Condition, bounds: Bounds) -> Truth:
    if c.at_least is not None:
        return bounds.at_least(signature.value(c.at_least))
    return bounds.at_most(signature.value(c.at_most or ""))


def _outcome(c: Condition, truth: Truth) -> str:
    if truth is None:
        return "unknown"
    if truth:
        return "supports"
    return "contradicts" if c.role == "required" else "neutral"


def _tidy(value: float | None) -> float | int | None:
    if value is None:
        return None
    return int(value) if float(value).is_integer() else round(value, 4)


def _comparison(signature: Signature, c: Condition, truth: Truth, reading: Reading) -> str:
    limit = c.at_least or c.at_most
    if limit is None or c.measure == "whole" or reading.weak or reading.bounds.shown is None:
        return ""
    value = signature.value(limit)
    shown = words.percent(value) if c.measure in _SHARES else words.count(value)
    side = "at least" if c.at_least else "at most"
    if truth is None:
        return f"; whether the whole is {side} {shown} cannot be told from this {reading.seen}"
    if truth:
        return f" (threshold: {side} {shown})" + (f": {c.meaning}" if c.meaning else "")
    return (
        f" (threshold: {side} {shown}, not reached)"
        if c.at_least
        else f" (threshold: {side} {shown}, exceeded)"
    )


def _where(c: Condition, seen: Observation, where: Mapping[str, str]) -> str:
    if c.tags:
        places = []
        for tag in dict.fromkeys((*c.tags, *([c.per] if c.per and c.per != "unloads" else ()))):
            source = seen.source(tag) or ""
            place = where.get(tag) or where.get(source) or source
            if place and place not in places:
                places.append(place)
        if c.per == "unloads" and where.get("unloads"):
            places.append(where["unloads"])
        return "; ".join(places)
    key = {"unloads": "unloads", "repeats": "ring"}.get(c.measure, c.pool)
    if key in ("paged", "nonpaged") and "limits" in where:
        return where["limits"]
    if key == "unloads" and key not in where and seen.drivers.unloads_total is None:
        key = "ring"  # what the lower bound was counted from
    return where.get(key) or {"unloads": "driver unload records", "ring": "unloaded drivers"}.get(key, key)


# -- the measures, each with its sentence ----------------------------------------------------------


def _unread(what: str) -> Reading:
    return Reading(UNKNOWN, f"{what} could not be read")


def _outstanding(_: Signature, c: Condition, seen: Observation) -> Reading:
    tag, bounds = c.tags[0], seen.outstanding(c.tags[0], c.pool)
    if bounds.shown is None:
        return _unread(f"the count of {words.tag(tag)}")
    held = words.size(seen.bytes(tag, c.pool).shown or 0)
    where = seen.main_pool(tag, c.pool)
    text = f"{words.tag(tag)}: {words.count(bounds.shown)} outstanding in {where} pool ({held})"
    if bounds.low != bounds.high:
        if seen.estimated(tag, c.pool) is not None:
            return Reading(bounds, text + _sampled(seen, tag, c.pool), seen="sample")
        if seen.walked(tag):
            text += _seen_share(seen, where)
        else:
            text += ", a part of the tracker is missing"
    return Reading(bounds, text)


def _seen_share(seen: Observation, pool: str) -> str:
    coverage = seen.coverage(pool)
    return f" in {words.percent(coverage)} of its pages" if coverage is not None else " in the pages seen"


def _sampled(seen: Observation, tag: str, pool: str) -> str:
    sample, ends = seen.sample(seen.main_pool(tag, pool)), seen.estimated(tag, pool)
    if sample is None or ends is None:
        return ""
    low, high = map(words.count, ends)
    pages = f"{words.count(sample.pages)} of the {words.count(sample.pages_held)} pages in the image"
    return f", estimated from a random sample of {pages}: {low} to {high} at 95 %"


def _bytes(_: Signature, c: Condition, seen: Observation) -> Reading:
    tag, bounds = c.tags[0], seen.bytes(c.tags[0], c.pool)
    if bounds.shown is None:
        return _unread(f"the bytes of {words.tag(tag)}")
    return Reading(bounds, f"{words.tag(tag)}: {words.count(bounds.shown)} bytes outstanding")


def _block_bytes(_: Signature, c: Condition, seen: Observation) -> Reading:
    tag, bounds = c.tags[0], seen.block_bytes(c.tags[0], c.pool)
    if bounds.shown is None:
        return _unread(f"the mean block of {words.tag(tag)}")
    return Reading(bounds, f"{words.tag(tag)}: {words.count(bounds.shown)} bytes for each outstanding block")


def _freed(signature: Signature, c: Condition, seen: Observation) -> Reading:
    tag, bounds = c.tags[0], seen.freed(c.tags[0], c.pool)
    use = seen.use(tag, c.pool)
    if bounds.shown is None or use is None:
        why = "a walk of pages counts no frees" if seen.walked(tag) else "no complete lifetime counters"
        return Reading(UNKNOWN, f"{words.tag(tag)}: how much of it was freed is not known ({why})")
    text = f"{words.tag(tag)}: {words.count(use.frees or 0)} of {words.count(use.allocs or 0)} allocations"
    text += f" since boot were freed ({words.percent(bounds.shown)})"
    weak = c.baseline is not None and (use.allocs or 0) < signature.value(c.baseline)
    return Reading(bounds, text + (", too few to judge by" if weak else ""), weak)


def _share(_: Signature, c: Condition, seen: Observation) -> Reading:
    names = words.joined([words.tag(tag) for tag in c.tags])
    bounds = seen.share(c.tags, c.pool)
    pool = seen.main_pool(c.tags[0], c.pool)
    if bounds.shown is None:
        return _unread(f"the share of {names} in {pool} pool")
    at_least = "" if bounds.low == bounds.high else "at least "
    if at_least and seen.sample(pool) is not None:
        at_least = "about "
    return Reading(bounds, f"{names} hold {at_least}{words.percent(bounds.shown)} of {pool} pool in use")


def _unloads(_: Signature, c: Condition, seen: Observation) -> Reading:
    bounds = seen.unloads()
    if bounds.shown is None:
        return _unread("the count of driver unloads")
    at_least = "" if bounds.low == bounds.high else "at least "
    return Reading(bounds, f"{at_least}{words.count(bounds.shown)} driver unloads since boot")


def _repeats(signature: Signature, c: Condition, seen: Observation) -> Reading:
    bounds = seen.repeats(signature.value(c.baseline) if c.baseline else 0)
    if bounds.shown is None:
        return _unread("the list of unloaded drivers")
    top, entries = seen.most_unloaded(), seen.ring_entries()
    if top is None:
        return Reading(bounds, "no driver was unloaded")
    return Reading(bounds, f"{top[0]} is {top[1]} of the last {entries} unloaded drivers")


def _fullness(_: Signature, c: Condition, seen: Observation) -> Reading:
    bounds = seen.fullness(c.pool)
    if bounds.shown is None:
        return _unread(f"the limit of {c.pool} pool")
    return Reading(bounds, f"{c.pool} pool is {words.percent(bounds.shown)} full")


_SHARES = ("share", "freed", "repeats", "fullness")
_MEASURES: dict[str, Callable[[Signature, Condition, Observation], Reading]] = {
    "outstanding": _outstanding,
    "bytes": _bytes,
    "block_bytes": _block_bytes,
    "freed": _freed,
    "share": _share,
    "unloads": _unloads,
    "repeats": _repeats,
    "fullness": _fullness,
}


def _ask_whole(signature: Signature, c: Condition, seen: Observation) -> tuple[Truth, Reading]:
    tag, per = words.tag(c.tags[0]), c.per or ""
    blocks, unit = seen.outstanding(c.tags[0], c.pool), _unit(per, c.tags[0], seen)
    each = "driver unload" if per == "unloads" else f"block of {words.tag(per)}"
    if blocks.shown is None or unit is None:
        return None, Reading(UNKNOWN, f"{tag}: blocks for each {each} are not known")
    baseline = signature.value(c.baseline) if c.baseline else 0
    if unit <= 0 or unit < baseline / 2:
        # Nearly every count is a whole number of times a small one, give or take the baseline.
        text = f"{tag}: {words.count(blocks.shown)} by {words.count(unit)}: too few to say whether in step"
        return None, Reading(UNKNOWN, text)
    number = whole_number(
        blocks.shown,
        unit,
        most=signature.value(c.at_most or ""),
        baseline=baseline,
        tolerance=signature.value(c.tolerance) if c.tolerance else 0,
    )
    if seen.sample(seen.main_pool(c.tags[0], c.pool)) is not None:
        # The error of two estimates is larger than what is asked for.
        return None, Reading(UNKNOWN, f"{tag}: whether in step with each {each} cannot be told from a sample")
    ratio = blocks.shown / unit
    noun = "block" if round(ratio, 2) == 1 else "blocks"
    about = f"{tag}: {words.count(round(ratio, 2))} {noun} for each {each}"
    verdict = (
        "no small whole number" if number is None else f"in step: {number} each and a base of living ones"
    )
    return number is not None, Reading(Bounds(ratio, ratio, ratio), f"{about}, {verdict}")


def _unit(per: str, tag: str, seen: Observation) -> float | None:
    """What to divide by. Counts of a walk lack the unseen blocks: they only go by each other."""
    if per == "unloads":
        return None if seen.walked(tag) else seen.drivers.unloads_total
    if seen.source(tag) != seen.source(per):
        return None
    return seen.outstanding(per).shown


def whole_number(blocks: float, unit: float, *, most: float, baseline: float, tolerance: float) -> int | None:
    """Return k in 1..``most`` with ``blocks`` = k x ``unit`` + (0..``baseline``) +- ``tolerance`` x ``unit``.

    The smallest such k, or None. ``baseline`` is what the machine holds without any leak.
    """
    for number in range(1, int(most) + 1):
        rest = blocks - number * unit
        if -tolerance * unit <= rest <= baseline + tolerance * unit:
            return number
    return None
