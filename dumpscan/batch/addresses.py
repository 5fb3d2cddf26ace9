"""Images on servers: how an address is written down, and which images a folder or glob there holds.

What is written down holds no secrets: user and password are left out of an address, and of its query
(where signed addresses carry theirs) only a hash is kept, which still tells two files apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dumpscan.errors import UnreadableFile, UnsupportedImage
from dumpscan.image.address import without_secrets

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MAGIC = re.compile(r"[*?[]")
_WEB = ("http://", "https://")
_TIMES = ("LastModified", "last_modified", "mtime", "updated")


class Remote(NamedTuple):
    """A file on a server, with its time of modification where the server says it."""

    url: str
    size: int | None
    mtime_ns: int | None


def is_url(text: str) -> bool:
    """``s3://bucket/key``; a Windows drive (``C:\\dumps``) is none."""
    return _URL.match(text) is not None


def is_wellformed(url: str) -> bool:
    """Whether ``url`` can be taken apart (a host with one bracket cannot)."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


def printable(url: str) -> str:
    """``url`` as the store and messages name it, without user, password and query."""
    if not is_wellformed(url):  # Nobody can say where its secrets are.
        return f"{url.partition('://')[0]}://?{_short_hash(url)}"
    place, query = without_secrets(url), urlsplit(url).query
    return f"{place}?{_short_hash(query)}" if query else place


def _short_hash(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=6).hexdigest()


def is_listing(url: str) -> bool:
    """Whether ``url`` stands for several files. Web servers have no listing that could be relied on."""
    if url.lower().startswith(_WEB):
        return False
    return url.endswith("/") or _MAGIC.search(url) is not None


def listing(url: str) -> Iterator[Remote]:
    """The files below a folder, or those that a glob matches, in order of their names.

    :raises UnreadableFile: nothing there, or not permitted. :raises UnsupportedImage: a library is missing.
    """
    place = printable(url)
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url)
        found = fs.glob(path, detail=True) if _MAGIC.search(path) else fs.find(path, detail=True)
    except ImportError as error:
        raise UnsupportedImage(
            f"{place}: cannot be listed ({error}); install the extra: pip install 'dumpscan[remote]'"
        ) from None
    except Exception as error:
        # Every kind of server brings its own errors (botocore's for missing credentials, say).
        why = " ".join(str(error).split()) or type(error).__name__
        problem = f"{place}: cannot be listed ({why}); check the address and credentials"
        raise UnreadableFile(problem) from None
    files = [(name, info) for name, info in sorted(found.items()) if info.get("type") == "file"]
    if not files:
        raise UnreadableFile(f"{place}: holds no file; give images, folders, globs, @LIST or URLs")
    for name, info in files:
        yield Remote(fs.unstrip_protocol(name), info.get("size"), _modified(info))


def _modified(info: dict[str, Any]) -> int | None:
    when = next((info[key] for key in _TIMES if key in info), None)
    if isinstance(when, datetime):
        return int(when.timestamp()) * 10**9
    return int(when * 10**9) if isinstance(when, (int, float)) else None
