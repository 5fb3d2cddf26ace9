"""Records of the attribution: what blocks hold, in how many copies, and which driver that points to.

Part of the result documents, see :mod:`dumpscan.model`.
"""

from __future__ import annotations

from dumpscan.records import record


@record
class ContentGroup:
    """Blocks of one size and one content.

    ``copies`` counts near-identical blocks (equal but for kernel addresses, digits in texts and
    slack), ``identical`` the commonest content among them, ``variants`` how many contents there are.
    ``kind``: descriptor, acl, text, other or zeros. ``text`` and ``details`` say what it is, in words;
    ``names`` are the services and drivers named in it; both are empty when contents are hidden.
    ``example`` is the address of a block.
    """

    size: int
    kind: str
    copies: int
    identical: int
    variants: int
    example: str
    text: str = ""
    details: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@record
class TagContents:
    """Resident blocks of one tag in one pool. ``blocks`` were read; ``outstanding`` is the kernel's
    count, None where it keeps none. ``others`` are blocks in groups that are not listed."""

    tag: str
    pool: str
    blocks: int
    bytes: int
    outstanding: int | None
    groups: tuple[ContentGroup, ...] = ()
    others: int = 0


@record
class NamedDriver:
    """A driver or service that block contents name.

    ``name`` is the driver's file where one of that name was loaded or unloaded, else the service.
    ``blocks`` of ``tag`` name it, ``copies`` of them in the form ``text``. ``unloads_recent`` of the
    ``ring_entries`` last unloads were of it; None where that list is not known.
    """

    name: str
    service: str
    tag: str
    blocks: int
    copies: int
    text: str = ""
    loaded: bool = False
    unloads_recent: int | None = None
    ring_entries: int | None = None


@record
class Attribution:
    """Who the blocks belong to. ``scope``: all (every resident block) or sample (``pages_read`` of
    ``pages_held`` pool pages); ``summary`` is one line, None when nothing stands out."""

    scope: str
    pages_read: int
    pages_held: int
    summary: str | None
    tags: tuple[TagContents, ...] = ()
    drivers: tuple[NamedDriver, ...] = ()
    contents_hidden: bool = False
    notes: tuple[str, ...] = ()
