"""The evidence as a table: what was measured, against which threshold, what it means, where it was read."""

from __future__ import annotations

import re

from markupsafe import Markup

from dumpscan.model import Evidence, SignatureResult, Verdict
from dumpscan.report.html import parts
from dumpscan.report.html.page import Section

_OUTCOMES = {
    "supports": ("✓ supports", "bad"),
    "contradicts": ("✗ contradicts", "good"),
    "unknown": ("? unknown", "unsure"),
    "neutral": ("· neutral", ""),
}
_THRESHOLD = re.compile(r" \(threshold: ([^()]*)\)")
_COLUMNS = (
    parts.Column("Finding"),
    parts.Column("Outcome", "short"),
    parts.Column("Value", "number"),
    parts.Column("Threshold", "short"),
    parts.Column("Meaning"),
    parts.Column("Read from", "where"),
)
_STATES = {
    "present": "The signature is present.",
    "early": "The signature is at an early stage.",
    "absent": "The signature is absent.",
    "unknown": "Whether the signature is present cannot be told from this image.",
}


def evidence_section(verdict: Verdict) -> Section:
    """One table for each signature that was looked for."""
    all_signatures = (verdict.signature, *verdict.other_signatures)
    tables = [_table(each) for each in all_signatures if each.evidence]
    lead = _STATES.get(verdict.signature.state, verdict.signature.state)
    held = sum(1 for each in verdict.signature.evidence if each.outcome == "supports")
    if verdict.signature.evidence:
        lead += f" {held} of {len(verdict.signature.evidence)} findings support it."
    return Section("evidence", "Evidence", parts.joined(*tables), lead)


def _table(signature: SignatureResult) -> Markup:
    rows = [_row(each) for each in signature.evidence]
    caption = f"Evidence for {signature.id}: {signature.state}"
    return parts.table(parts.Table(caption, _COLUMNS, rows, stacked=True))


def outcome(name: str) -> tuple[str, str]:
    """The word for an outcome, with its sign, and its colour."""
    return _OUTCOMES.get(name, (name, ""))


def _row(evidence: Evidence) -> tuple[parts.Cell | str, ...]:
    word, tone = outcome(evidence.outcome)
    threshold = _THRESHOLD.search(evidence.text)
    return (
        evidence.id.replace("-", " "),
        parts.Cell(word, tone=tone),
        figure(evidence.value, evidence.threshold),
        threshold[1] if threshold else figure(evidence.threshold, evidence.threshold),
        _THRESHOLD.sub("", evidence.text),
        evidence.where,
    )


def figure(value: float | int | str | None, threshold: float | int | str | None) -> str:
    """A measured value: shares (a threshold between 0 and 1) in percent, counts with separators."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(threshold, float) and 0 < threshold <= 1:
        return f"{value:.1%}".replace("%", "\u2009%").replace(".0\u2009", "\u2009").replace("\u2009", " ")
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
