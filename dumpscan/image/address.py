"""Addresses of remote files, as they may be shown. Imports nothing heavy: a batch writes many down."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """``url`` without user, password and query. :raises ValueError: it cannot be taken apart."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
