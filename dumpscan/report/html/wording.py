"""The verdict in words and colours for somebody who has never heard of pool tags."""

from __future__ import annotations

from dumpscan.model import Fix

TONES = {"exhibits": "bad", "unexpected": "bad", "inconclusive": "unsure", "does-not-exhibit": "good"}
"""Colour by verdict code."""

WORDS = {
    "exhibits": "Exhibits the leak",
    "unexpected": "Exhibits the leak, unexpectedly",
    "does-not-exhibit": "Does not exhibit the leak",
    "inconclusive": "Inconclusive",
}

_PLAIN = {
    "exhibits": (
        "Windows on this machine loses a little of its own memory each time a driver is loaded and unloaded, "
        "and gets it back only by a restart. Once that memory (pool) is full, the machine hangs."
    ),
    "unexpected": (
        "the memory shows this leak, although this Windows should not have it: it carries the fix, or the "
        "article is not about it."
    ),
    "inconclusive": "what is needed for an answer is not there. That is neither a yes nor a no.",
    "does-not-exhibit": "nothing here points to this leak.",
}
_ANOTHER = "this leak is not what ails the machine, but something else holds much of its memory (pool)."


def tone(code: str, suspects: bool = False) -> str:
    """The banner's colour; a machine with another suspect is not shown in green."""
    found = TONES.get(code, "unsure")
    return "unsure" if suspects and found == "good" else found


def plain(code: str, fix: Fix, suspects: bool = False) -> str:
    """What the verdict means, in a sentence or two without terms of the trade."""
    text = _ANOTHER if suspects and code == "does-not-exhibit" else _PLAIN.get(code, "")
    if code == "exhibits" and fix.row is not None:
        text += " Microsoft has a hotfix for it."
    return f"In plain words: {text}" if text else ""
