"""Records of the drivers: those that are loaded, and those that came and went.

Part of the result documents, see :mod:`dumpscan.model`, which is where to import them from.
"""

from __future__ import annotations

from dumpscan.records import record


@record
class Unloads:
    """One driver name in the ring of unloaded drivers. first/last are ISO 8601, UTC."""

    name: str
    count: int
    first: str | None
    last: str | None


@record
class Unload:
    """One entry of the ring of unloaded drivers. ``time`` is ISO 8601, UTC."""

    name: str
    time: str | None


@record
class Module:
    """A loaded driver or the kernel itself. ``timestamp``: of its PE header, where the image tells."""

    name: str
    base: str
    size: int
    path: str | None = None
    timestamp: int | None = None


@record
class Drivers:
    """Drivers that came and went. ``unloads_total`` is None where the kernel does not keep it.
    ``loaded_complete``: False where the list leaves the image and ``loaded`` is its beginning.
    ``ring_complete``: False where there may have been unloads that ``recent`` does not name."""

    unloads_total: int | None = None
    recent: tuple[Unloads, ...] = ()
    loaded: tuple[Module, ...] = ()
    ring_entries: int | None = None
    timeline: tuple[Unload, ...] = ()
    loaded_complete: bool | None = None
    ring_complete: bool | None = None
