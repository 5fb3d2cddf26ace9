"""The result documents: frozen records that every room hands on and every report renders.

Shapes and key names are the contract of ``docs/result-document.md``: scripts rely on them. A key
may be added at any time; renaming or dropping one needs a new schema version. Integers above
2**53 and all addresses are written as hexadecimal strings. ``None`` always means *unknown*.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from dumpscan.model_attribution import Attribution
from dumpscan.model_drivers import Drivers as Drivers
from dumpscan.model_drivers import Module as Module
from dumpscan.model_drivers import Unload as Unload
from dumpscan.model_drivers import Unloads as Unloads
from dumpscan.model_pictures import Pictures
from dumpscan.records import field, fields, is_record, record

VERDICT_SCHEMA = "dumpscan.verdict/1"
POOLS_SCHEMA = "dumpscan.pools/1"
INFO_SCHEMA = "dumpscan.info/1"
ATTRIBUTION_SCHEMA = "dumpscan.attribution/1"

_JSON_SAFE = 1 << 53
_ONLY_WHERE_KNOWN = frozenset({"interval"})  # thousands of tags have none

T = TypeVar("T")


@record
class Tool:
    """Which program wrote the document."""

    name: str = "dumpscan"
    version: str = ""


@record
class ImageInfo:
    """What the file is. ``bytes`` and ``*_expected`` let a reader judge truncation."""

    path: str
    format: str
    bytes: int
    bytes_expected: int | None = None
    page_size: int = 4096
    pages_present: int | None = None
    pages_expected: int | None = None
    truncated: bool = False
    description: str = ""
    comment: str | None = None
    notes: tuple[str, ...] = ()


@record
class Pdb:
    """The CodeView (RSDS) record of an image: GUID as 32 upper-case hexadecimal digits."""

    name: str
    guid: str
    age: int


@record
class KernelInfo:
    """Identity of the kernel image. ``base`` and ``dtb`` are hexadecimal strings.

    ``image_name`` is the file the machine loaded (always ntoskrnl.exe or ntkrnlpa.exe),
    ``internal_name`` what the file calls itself, which tells uniprocessor from multiprocessor.
    """

    found_by: str
    product: str | None = None
    version: str | None = None
    service_pack: int | None = None
    arch: str | None = None
    pae: bool | None = None
    image_name: str | None = None
    internal_name: str | None = None
    build_lab: str | None = None
    branch: str = "unknown"
    pdb: Pdb | None = None
    timestamp: int | None = None
    base: str | None = None
    dtb: str | None = None
    build: int | None = None
    build_date: str | None = None
    multiprocessor: bool | None = None
    checked: bool | None = None
    version_from: str | None = None
    checksum: int | None = None
    kdbg: str | None = None
    notes: tuple[str, ...] = ()


@record
class BugCheck:
    """Stop code, its symbolic name and its parameters (hexadecimal strings)."""

    code: int
    name: str
    parameters: tuple[str, ...] = ()


@record
class Machine:
    """State of the machine when the image was taken. ``system_time`` is ISO 8601, UTC."""

    bugcheck: BugCheck | None = None
    system_time: str | None = None
    uptime_seconds: float | None = None
    processors: int | None = None


@record
class PoolLimits:
    """Bytes used, the configured maximum, and used / maximum (0..1)."""

    used_bytes: int | None = None
    limit_bytes: int | None = None
    fullness: float | None = None


@record
class BigUse:
    """Live allocations of a page or more."""

    count: int = 0
    bytes: int = 0


@record
class Interval:
    """Both ends of 95 % intervals around figures that a sample of pages gives."""

    outstanding_low: int
    outstanding_high: int
    bytes_low: int
    bytes_high: int


@record
class PoolUse:
    """Counters of one tag in one pool. ``allocs``/``frees`` are lifetime counts, None when walked.

    ``interval`` belongs to estimates from a sample; None where the sample did not show the tag.
    """

    allocs: int | None = None
    frees: int | None = None
    outstanding: int = 0
    bytes: int = 0
    big: BigUse | None = None
    interval: Interval | None = None


@record
class SampledPool:
    """A random sample of one pool's pages in the image: ``pages`` read of ``pages_held``.

    A tag that none of them showed lies on at most ``unseen_pages``, with at most what ``unseen`` says.
    """

    pages: int
    pages_held: int
    unseen_pages: int
    unseen: Interval


@record
class TagUse:
    """Both pools of one four-character tag (trailing blanks matter). source: tracker, pages or sample."""

    tag: str
    paged: PoolUse
    nonpaged: PoolUse
    source: str


@record
class Coverage:
    """Share (0..1) of each source that the image holds; None where it was not read."""

    tracker: float | None = None
    big_pages: float | None = None
    paged_pages: float | None = None
    nonpaged_pages: float | None = None


@record
class Reconciliation:
    """tracker_bytes against what was found in memory, for one tag (both pools)."""

    tag: str
    tracker_bytes: int | None
    resident_bytes: int
    big_bytes: int
    unexplained_bytes: int | None
    note: str


@record
class PageStates:
    """Count of pool pages by state of their page table entry."""

    valid: int = 0
    transition: int = 0
    pagefile: int = 0
    demand_zero: int = 0
    prototype: int = 0
    absent: int = 0


@record
class Pool:
    """Everything known about the two pools."""

    tagging: str = "unknown"
    paged: PoolLimits = field(default_factory=PoolLimits)
    nonpaged: PoolLimits = field(default_factory=PoolLimits)
    tags: tuple[TagUse, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    reconciliation: tuple[Reconciliation, ...] = ()
    page_states: Mapping[str, PageStates] = field(default_factory=dict)
    overflow: TagUse | None = None
    untracked: Mapping[str, BigUse] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sample: Mapping[str, SampledPool] = field(default_factory=dict)


@record
class FixRow:
    """The row of the article's file tables that applies to this machine."""

    table: str
    file: str
    version: str
    size: int
    date: str
    time: str
    platform: str
    sp_requirement: str | None = None
    packages: tuple[str, ...] = ()
    prerequisite: str = ""
    restart: str = ""


@record
class Fix:
    """Does this kernel carry the fix?

    state: vulnerable, fixed, out-of-scope, prerequisite-missing or unknown.
    """

    state: str
    hotfix: str | None = None
    fixed_version: str | None = None
    reason: str = ""
    row: FixRow | None = None


@record
class Evidence:
    """One finding. outcome: supports, contradicts, neutral or unknown."""

    id: str
    outcome: str
    value: float | int | str | None
    threshold: float | int | str | None
    text: str
    where: str


@record
class SignatureResult:
    """State of one leak signature: present, early, absent or unknown."""

    id: str
    state: str
    evidence: tuple[Evidence, ...] = ()
    title: str = ""
    related: tuple[TagUse, ...] = ()
    tags: tuple[str, ...] = ()


@record
class Suspect:
    """A tag that holds a remarkable share of its pool. share is of the pool's used bytes (0..1)."""

    tag: str
    pool: str
    bytes: int
    share: float | None
    text: str


@record
class Judgement:
    """code: exhibits, unexpected, does-not-exhibit or inconclusive."""

    code: str
    summary: str
    advice: str


@record
class Verdict:
    """The whole answer for one image (schema ``dumpscan.verdict/1``)."""

    image: ImageInfo
    kernel: KernelInfo
    machine: Machine
    pool: Pool
    drivers: Drivers
    fix: Fix
    signature: SignatureResult
    suspects: tuple[Suspect, ...]
    verdict: Judgement
    tool: Tool = field(default_factory=Tool)
    other_signatures: tuple[SignatureResult, ...] = ()
    pictures: Pictures | None = None
    attribution: Attribution | None = None
    schema: str = VERDICT_SCHEMA


@record
class Pools:
    """Pool figures by tag (schema ``dumpscan.pools/1``)."""

    image: ImageInfo
    kernel: KernelInfo
    source: str
    tags: tuple[TagUse, ...]
    coverage: Coverage = field(default_factory=Coverage)
    page_states: Mapping[str, PageStates] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sample: Mapping[str, SampledPool] = field(default_factory=dict)
    schema: str = POOLS_SCHEMA


@record
class AttributionReport:
    """What the blocks of some tags hold and whose they are (schema ``dumpscan.attribution/1``)."""

    image: ImageInfo
    kernel: KernelInfo
    drivers: Drivers
    attribution: Attribution
    tool: Tool = field(default_factory=Tool)
    schema: str = ATTRIBUTION_SCHEMA


@record
class Header:
    """What the container claims, before anything is verified; None where it says nothing.

    Addresses are hexadecimal strings. ``pool_pages`` are a triage dump's pool figures, in pages.
    """

    arch: str | None = None
    build: int | None = None
    checked: bool | None = None
    pae: bool | None = None
    dtbs: tuple[str, ...] = ()
    kdbg: str | None = None
    ps_loaded_module_list: str | None = None
    ps_active_process_head: str | None = None
    pfn_database: str | None = None
    product_type: int | None = None
    pool_pages: Mapping[str, int] = field(default_factory=dict)


@record
class Info:
    """What a file is and which kernel is in it (schema ``dumpscan.info/1``).

    ``kernel`` and ``drivers`` are None where no kernel was found, and ``notes`` say why; ``machine``
    is then what the header claims.
    """

    image: ImageInfo
    header: Header
    kernel: KernelInfo | None = None
    machine: Machine = field(default_factory=Machine)
    drivers: Drivers | None = None
    notes: tuple[str, ...] = ()
    tool: Tool = field(default_factory=Tool)
    schema: str = INFO_SCHEMA


def to_dict(value: Any) -> Any:
    """Return ``value`` (a record of this module) as plain JSON types, keys in contract order.

    Keys are always there, None for unknown; but ``interval`` only where there is one.
    """
    if value is None or isinstance(value, (str, float, bool)):
        return value
    if isinstance(value, int):
        return hex(value) if abs(value) > _JSON_SAFE else value
    if is_record(value):
        names = fields(value)
        ordered = ("schema", *(n for n in names if n != "schema")) if "schema" in names else names
        found = ((name, to_dict(getattr(value, name))) for name in ordered)
        return {name: item for name, item in found if item is not None or name not in _ONLY_WHERE_KNOWN}
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    return [to_dict(item) for item in value]


def from_dict(kind: type[T], data: Mapping[str, Any]) -> T:
    """Rebuild a record from :func:`to_dict`'s output.

    Keys that this version does not know are ignored, keys that it misses take their default, so
    that documents of older and newer versions load.

    :raises TypeError: a required key without default is missing, or a value is not of the field's kind.
    """
    described: Any = kind
    readers = _readers(described)
    return kind(**{
        name: value if value is None or (read := readers[name]) is None else read(value)
        for name, value in data.items()
        if name in readers
    })


_Reader = Callable[[Any], Any]


@functools.cache
def _readers(kind: Any) -> dict[str, _Reader | None]:
    """How each field's value is read, None: as it stands. Worked out once: documents hold thousands of
    records of a kind."""
    hints = typing.get_type_hints(kind)
    return {name: _reader(hints[name]) for name in fields(kind)}


def _reader(hint: Any) -> _Reader | None:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _one_of([arg for arg in args if arg is not type(None)])
    if origin is tuple:
        read = _reader(args[0])
        return tuple if read is None else functools.partial(_items, read)
    if origin is not None and issubclass(origin, Mapping):
        read = _reader(args[1])
        return dict if read is None else functools.partial(_entries, read)
    if isinstance(hint, type) and hasattr(hint, "__record_fields__"):
        return functools.partial(from_dict, hint)
    found: _Reader | None = _SCALARS.get(hint)
    return found


def _items(read: _Reader, values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple([None if value is None else read(value) for value in values])


def _entries(read: _Reader, values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(values, _items(read, values.values()), strict=True))


def _one_of(options: list[Any]) -> _Reader | None:
    if len(options) == 1:
        return _reader(options[0])
    kind = next((option for option in options if hasattr(option, "__record_fields__")), None)
    if kind is None:
        return None
    return lambda value: from_dict(kind, value) if isinstance(value, Mapping) else value


def _whole(value: Any) -> int:
    if isinstance(value, int):
        return value
    return int(value, 16)  # addresses are text


def _real(value: Any) -> float:
    if isinstance(value, (int, float)) and abs(value) < _LARGEST:
        return value
    raise TypeError(f"{value!r} is no number")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r} is no text")


_LARGEST: Final = 1e300
_SCALARS: Final[dict[Any, _Reader]] = {int: _whole, float: _real, str: _text}
