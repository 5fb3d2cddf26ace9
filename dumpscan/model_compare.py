"""Records of the comparison of images (schema ``dumpscan.compare/1``), see :mod:`dumpscan.model`."""

from __future__ import annotations

from dumpscan.model import Fix, Judgement, PoolLimits, SignatureResult, Suspect, Tool
from dumpscan.model_attribution import Attribution
from dumpscan.records import field, record

COMPARE_SCHEMA = "dumpscan.compare/1"


@record
class ComparedImage:
    """One point of the series. ``state`` and ``code`` are of the image alone."""

    path: str
    system_time: str | None
    uptime_seconds: float | None
    boot_time: str | None
    format: str
    kernel: str
    unloads_total: int | None
    source: str | None
    state: str
    code: str


@record
class Reason:
    """One thing that speaks for (yes), against (no) or neither (unknown) the same machine or boot."""

    about: str
    outcome: str
    text: str


@record
class Level:
    """What a tag holds in one pool at one point; None where the image cannot say."""

    outstanding: int | None
    bytes: int | None


@record
class Fit:
    """Straight line by least squares: slope per hour, and r2 (1 is a straight line, None: no spread)."""

    slope: float
    r2: float | None


@record
class TagGrowth:
    """One tag in one pool over the series. Differences are last minus first; rates are of the fitted
    line, None where images of several boots, or of no known time, are compared."""

    tag: str
    pool: str
    points: tuple[Level, ...]
    outstanding_change: int | None
    bytes_change: int | None
    outstanding_per_hour: float | None
    bytes_per_hour: float | None
    outstanding_per_unload: float | None
    outstanding_fit: Fit | None = None
    bytes_fit: Fit | None = None
    source: str | None = None


@record
class PoolGrowth:
    """A pool over the series. ``full_at`` (ISO 8601, UTC) is when it is, or was, full at this rate."""

    points: tuple[PoolLimits, ...]
    bytes_per_hour: float | None = None
    fit: Fit | None = None
    full_at: str | None = None
    hours_left: float | None = None
    text: str = ""


@record
class PoolsGrowth:
    """Both pools."""

    paged: PoolGrowth
    nonpaged: PoolGrowth


@record
class Comparison:
    """Images in time order, what grew between them, and the verdict over the series.

    ``comparable`` is growth (rates and forecasts), levels (only what each image holds) or nothing.
    """

    images: tuple[ComparedImage, ...]
    same_machine: bool | None
    same_boot: bool | None
    reasons: tuple[Reason, ...]
    comparable: str
    hours: float | None
    unloads: int | None
    tags: tuple[TagGrowth, ...]
    pool: PoolsGrowth
    fix: Fix
    signature: SignatureResult
    verdict: Judgement
    attribution: Attribution | None = None
    suspects: tuple[Suspect, ...] = ()
    """Of the last image: other tags with a remarkable share of a pool."""
    notes: tuple[str, ...] = ()
    tool: Tool = field(default_factory=Tool)
    schema: str = COMPARE_SCHEMA
