"""Leak signatures as data: loading, checking and overriding them (``signatures/*.toml``).

A signature names its tags, thresholds (each with unit and rationale), conditions and states; a
state is a tree of conditions. :mod:`dumpscan.verdict.signature` evaluates it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from dumpscan.errors import UsageError
from dumpscan.verdict.data import HERE, read_toml, refuse_unknown

MEASURES = {  # measure -> (needs tags, needs a threshold)
    "outstanding": (True, True),
    "bytes": (True, True),
    "block_bytes": (True, True),
    "share": (True, True),
    "freed": (True, True),
    "whole": (True, True),
    "walked": (True, False),
    "unloads": (False, True),
    "repeats": (False, True),
    "fullness": (False, True),
}
SERIES_MEASURES = {  # what a signature may ask of several images of one boot
    "growth": (True, True),
    "growth_per_unload": (True, True),
    "growth_whole": (True, True),
    "unload_growth": (False, True),
}
ROLES = ("required", "corroborates", "internal")
STATES = ("present", "early", "unknown")
SERIES_STATES = ("present", "absent")
POOLS = ("any", "paged", "nonpaged")
_REQUIRED = ("id", "title", "tags", "thresholds", "conditions", "states")
OPERATORS = ("all", "any", "first", "not")


class Threshold(NamedTuple):
    """A number with the reason why it is that number."""

    name: str
    value: float
    unit: str
    rationale: str


class Condition(NamedTuple):
    """One question to the observation. ``per`` is ``unloads`` or another tag (measure ``whole``)."""

    id: str
    measure: str
    tags: tuple[str, ...] = ()
    pool: str = "any"
    at_least: str | None = None
    at_most: str | None = None
    per: str | None = None
    baseline: str | None = None
    tolerance: str | None = None
    meaning: str = ""
    role: str = "required"


class Tree(NamedTuple):
    """``all``, ``any``, ``first`` or ``not`` over children, or ``is`` one condition's id."""

    operator: str
    children: tuple[Tree, ...] = ()
    condition: str = ""

    def conditions(self) -> set[str]:
        """Ids of every condition below this node."""
        if self.operator == "is":
            return {self.condition}
        return set().union(*(child.conditions() for child in self.children))


class SeriesRules(NamedTuple):
    """What a signature asks of a series of images: conditions, and states from the strongest on."""

    conditions: tuple[Condition, ...]
    states: tuple[tuple[str, Tree], ...]


class Signature(NamedTuple):
    """A leak: its tags, thresholds, conditions, and states from the strongest on."""

    id: str
    title: str
    tags: tuple[str, ...]
    related: tuple[str, ...]
    thresholds: Mapping[str, Threshold]
    conditions: tuple[Condition, ...]
    states: tuple[tuple[str, Tree], ...]
    minimum_coverage: str | None = None
    series: SeriesRules | None = None

    def value(self, name: str) -> float:
        """The value of a threshold."""
        return self.thresholds[name].value


@lru_cache(maxsize=1)
def builtin_signature() -> Signature:
    """Return the signature of KB950162."""
    return load_signature(HERE / "signatures" / "kb950162.toml")


def load_signatures(paths: Iterable[str | os.PathLike[str]]) -> tuple[Signature, ...]:
    """Return the signatures of a user's files.

    :raises UsageError: a file breaks the rules; names the file and the key.
    :raises UnreadableFile: a file is missing.
    """
    return tuple(load_signature(path) for path in paths)


def load_signature(path: str | os.PathLike[str]) -> Signature:
    """Return one checked signature. Errors as for :func:`load_signatures`."""
    raw, where = read_toml(path), str(path)
    refuse_unknown(
        where,
        raw,
        (*_REQUIRED, "related", "minimum_coverage", "series"),
        _REQUIRED,
    )
    signature = Signature(
        id=_string(where, "id", raw["id"]),
        title=_string(where, "title", raw["title"]),
        tags=_tags(where, "tags", raw["tags"]),
        related=_tags(where, "related", raw.get("related", [])),
        thresholds=_thresholds(where, raw["thresholds"]),
        conditions=_conditions(where, raw["conditions"]),
        states=_states(where, raw["states"]),
        minimum_coverage=raw.get("minimum_coverage"),
        series=_series(f"{where}: series", raw.get("series")),
    )
    _check_references(where, signature)
    return signature


def override(signature: Signature, values: Mapping[str, Any], where: str) -> Signature:
    """Return ``signature`` with some thresholds replaced.

    :raises UsageError: a name that the signature does not have, or a value that is no number.
    """
    refuse_unknown(where, values, signature.thresholds)
    changed = {
        name: signature.thresholds[name]._replace(value=_number(where, name, value))
        for name, value in values.items()
    }
    return signature._replace(thresholds={**signature.thresholds, **changed})


def _thresholds(where: str, raw: Any) -> dict[str, Threshold]:
    found = {}
    for name, entry in _table(where, "thresholds", raw).items():
        here = f"{where}: thresholds.{name}"
        keys = ("value", "unit", "rationale")
        refuse_unknown(here, _table(where, f"thresholds.{name}", entry), keys, keys)
        found[name] = Threshold(
            name,
            _number(here, "value", entry["value"]),
            _string(here, "unit", entry["unit"]),
            _string(here, "rationale", entry["rationale"]),
        )
    return found


def _series(where: str, raw: Any) -> SeriesRules | None:
    if raw is None:
        return None
    refuse_unknown(where, _table(where, "series", raw), ("conditions", "states"), ("conditions", "states"))
    return SeriesRules(
        _conditions(where, raw["conditions"], SERIES_MEASURES), _states(where, raw["states"], SERIES_STATES)
    )


def _conditions(
    where: str, raw: Any, measures: Mapping[str, tuple[bool, bool]] = MEASURES
) -> tuple[Condition, ...]:
    seen: dict[str, Condition] = {}
    for number, entry in enumerate(_list(where, "conditions", raw), 1):
        condition = _condition(f"{where}: condition {number}", entry, measures)
        if condition.id in seen:
            raise UsageError(f"{where}: condition {number}: id '{condition.id}' is used twice")
        seen[condition.id] = condition
    return tuple(seen.values())


def _condition(here: str, entry: Any, measures: Mapping[str, tuple[bool, bool]]) -> Condition:
    known = (*Condition._fields, "tag")
    refuse_unknown(here, _table(here, "conditions", entry), known, ("id", "measure"))
    values = {key: _string(here, key, value) for key, value in entry.items() if key not in ("tag", "tags")}
    listed = entry.get("tags", [entry["tag"]] if "tag" in entry else [])
    condition = Condition(tags=_tags(here, "tags", listed), **values)
    for key, value, allowed in (
        ("measure", condition.measure, tuple(measures)),
        ("role", condition.role, ROLES),
        ("pool", condition.pool, POOLS),
    ):
        if value not in allowed:
            raise UsageError(f"{here}: {key} '{value}' is not one of {', '.join(allowed)}")
    _check_shape(here, condition, measures)
    return condition


def _check_shape(here: str, condition: Condition, measures: Mapping[str, tuple[bool, bool]]) -> None:
    needs_tags, needs_threshold = measures[condition.measure]
    if needs_tags != bool(condition.tags):
        raise UsageError(
            f"{here}: measure '{condition.measure}' {'needs' if needs_tags else 'takes no'} tags"
        )
    if needs_threshold and (condition.at_least is None) == (condition.at_most is None):
        raise UsageError(f"{here}: measure '{condition.measure}' needs either at_least or at_most")
    ratio = condition.measure in ("whole", "growth_whole")
    if ratio and (condition.per is None or condition.at_most is None):
        raise UsageError(f"{here}: measure '{condition.measure}' needs per (unloads or a tag) and at_most")
    if condition.measure == "fullness" and condition.pool == "any":
        raise UsageError(f"{here}: measure 'fullness' needs pool (paged or nonpaged)")


def _states(where: str, raw: Any, names: tuple[str, ...] = STATES) -> tuple[tuple[str, Tree], ...]:
    states = []
    for number, entry in enumerate(_list(where, "states", raw), 1):
        here = f"{where}: state {number}"
        refuse_unknown(here, _table(where, "states", entry), ("name", *OPERATORS), ("name",))
        if entry["name"] not in names:
            raise UsageError(f"{here}: name '{entry['name']}' is not one of {', '.join(names)}")
        states.append((entry["name"], _tree(here, {k: v for k, v in entry.items() if k != "name"})))
    return tuple(states)


def _tree(here: str, raw: Any, depth: int = 0) -> Tree:
    if isinstance(raw, str):
        return Tree("is", condition=raw)
    if depth > 20:
        raise UsageError(f"{here}: the tree is nested more than 20 deep")
    if not isinstance(raw, Mapping) or len(raw) != 1 or next(iter(raw)) not in OPERATORS:
        raise UsageError(f"{here}: expected a condition's id or one of {', '.join(OPERATORS)}, found {raw!r}")
    operator, value = next(iter(raw.items()))
    children = [value] if operator == "not" else _list(here, operator, value)
    if not children:
        raise UsageError(f"{here}: '{operator}' is empty")
    return Tree(operator, tuple(_tree(here, child, depth + 1) for child in children))


def _check_references(where: str, signature: Signature) -> None:
    named = {signature.minimum_coverage: "minimum_coverage"} if signature.minimum_coverage else {}
    series = signature.series or SeriesRules((), ())
    for condition in (*signature.conditions, *series.conditions):
        for key in ("at_least", "at_most", "baseline", "tolerance"):
            if getattr(condition, key) is not None:
                named[getattr(condition, key)] = f"condition '{condition.id}': {key}"
    for name, user in named.items():
        if name not in signature.thresholds:
            raise UsageError(f"{where}: {user} names the threshold '{name}', which is not defined")
    _check_states(where, signature.conditions, signature.states)
    _check_states(f"{where}: series", series.conditions, series.states)


def _check_states(
    where: str, conditions: tuple[Condition, ...], states: tuple[tuple[str, Tree], ...]
) -> None:
    ids = {condition.id for condition in conditions}
    for state, tree in states:
        for unknown in sorted(tree.conditions() - ids):
            raise UsageError(
                f"{where}: state '{state}' names the condition '{unknown}', which is not defined"
            )


def _table(where: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: '{key}' must be a table")
    return value


def _list(where: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{where}: '{key}' must be a list")
    return value


def _string(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where}: '{key}' must be a string, found {value!r}")
    return value


def _number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise UsageError(f"{where}: '{key}' must be a number, found {value!r}")
    if value < 0:
        raise UsageError(f"{where}: '{key}' must not be negative, found {value!r}")
    return value


def _tags(where: str, key: str, value: Any) -> tuple[str, ...]:
    for item in _list(where, key, value):
        if not isinstance(item, str) or len(item) != 4:
            raise UsageError(f"{where}: '{key}': {item!r} is no tag of four characters (blanks count)")
    return tuple(value)
