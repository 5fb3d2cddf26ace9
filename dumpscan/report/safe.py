"""Text from a memory image is untrusted: driver names, tags and comments may hold anything.

Whatever a terminal could obey (escape sequences, line breaks, direction marks) is shown as an
escape, so that a crafted image cannot rewrite the analyst's screen.
"""

from __future__ import annotations

from typing import TextIO


def printable(text: str) -> str:
    """Return ``text`` with every character that is not plainly printable as ``\\x1b`` or ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def write(stream: TextIO, text: str) -> None:
    """Write ``text``; characters that the stream's encoding lacks come out as escapes, not as errors."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("·", "-").encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text)
