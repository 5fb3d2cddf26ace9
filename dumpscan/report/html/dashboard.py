"""The dashboard of a batch: an overview with charts and a table, and a page for each image.

Works from the file system: pages refer to each other by relative paths and load nothing. Pages are
named by the store's numbers, never by a path from outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from dumpscan.report import figures
from dumpscan.report.html import charts, parts
from dumpscan.report.html.page import Banner, Section, page
from dumpscan.report.html.svg import shown
from dumpscan.report.html.wording import TONES

INDEX = "index.html"
FOLDER = "images"
HOME = (f"../{INDEX}", "Overview")
_TOP = 10
_TENTHS = 10
_ORDER = ("exhibits", "unexpected", "inconclusive", "does-not-exhibit")
_REMARKS = {
    "exhibits": "the leak of the article",
    "unexpected": "the leak, though fixed or another Windows",
    "inconclusive": "the image cannot tell",
    "does-not-exhibit": "no sign of this leak",
}


class Image(NamedTuple):
    """One file of the store; None is unknown, or not reached."""

    number: int
    path: str
    status: str
    reason: str = ""
    seconds: float | None = None
    verdict: str | None = None
    summary: str | None = None
    product: str | None = None
    service_pack: int | None = None
    version: str | None = None
    fix_state: str | None = None
    paged: float | None = None
    nonpaged: float | None = None
    suspect: str | None = None
    unloaded_most: str | None = None
    system_time: str | None = None

    @property
    def page(self) -> str:
        """Path of its page, from the overview."""
        return f"{FOLDER}/{self.number:06}.html"


class Trouble(NamedTuple):
    """One failed attempt at an image."""

    at: str
    status: str
    kind: str
    reason: str
    detail: str


def overview(images: Sequence[Image], store: str, tool: str = "") -> str:
    """The file that is opened first."""
    counts = Counter(image.verdict for image in images if image.verdict)
    listed = [
        Section("overview", "Overview", _charts(images, counts)),
        Section("images", "Images", _table(images), "Each image has a page of its own."),
    ]
    title = f"dumpscan: {len(images):,} images"
    listed = [section for section in listed if images or section.id != "overview"]
    return page(title, listed, banner=_banner(images, counts), source=store, tool=tool)


def _banner(images: Sequence[Image], counts: Counter[str]) -> Banner:
    leaking = counts["exhibits"] + counts["unexpected"]
    judged = sum(counts.values())
    failed = sum(1 for image in images if image.status not in ("ok", "skipped"))
    word = f"{leaking:,} of {judged:,} images exhibit the leak" if judged else "No image was judged"
    passed = len(images) - judged - failed
    sentence = (
        f"{len(images):,} files were looked at: {judged:,} judged, {failed:,} could not be judged, "
        f"{passed:,} passed over."
    )
    tone = "bad" if leaking else ("unsure" if failed or counts["inconclusive"] or not judged else "good")
    tiles = [(name.replace("-", " "), f"{counts[name]:,}", _REMARKS[name]) for name in _ORDER]
    tiles.append(("not judged", f"{len(images) - judged:,}", "passed over, or failed"))
    return Banner("Batch", word, sentence, tone, tiles)


def _charts(images: Sequence[Image], counts: Counter[str]) -> Markup:
    verdicts = [
        charts.Bar(name.replace("-", " "), counts[name], f"{counts[name]:,}", colour=TONES[name])
        for name in _ORDER
        if counts[name]
    ]
    judged = [image for image in images if image.verdict]
    leaking = [image for image in judged if image.verdict in ("exhibits", "unexpected")]
    drawn = [
        _bars("Verdicts", verdicts, "images"),
        _counted("Status of the files", (image.status for image in images)),
        _counted("Windows", (_product(image) for image in judged)),
        _counted("Fix state of the kernels", (image.fix_state or "unknown" for image in judged)),
        _counted("Driver unloaded most, of the images that leak", (image.unloaded_most for image in leaking)),
        _counted("Main suspect by tag", (_tag(image.suspect) for image in judged)),
        _fullness(judged),
    ]
    return parts.columns(*(each for each in drawn if each))


def _counted(title: str, values: Iterable[str | None]) -> Markup | None:
    counts = Counter(value for value in values if value)
    bars = [charts.Bar(_short(name), count, f"{count:,}") for name, count in counts.most_common(_TOP)]
    more = f"; {len(counts) - _TOP} more" if len(counts) > _TOP else ""
    return _bars(title, bars, f"images{more}")


def _bars(title: str, bars: Sequence[charts.Bar], unit: str) -> Markup | None:
    if not bars:
        return None
    words = ", ".join(f"{bar.label} {bar.text}" for bar in bars)
    picture = charts.bars(title, bars, words, labels=0.4, longest=0.46, font="")
    return parts.figure(title, picture, text=f"Number of {unit}.")


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _product(image: Image) -> str:
    pack = f" SP{image.service_pack}" if image.service_pack else ""
    name = image.product or "unknown"
    bare = name.removeprefix("Windows ")
    return (bare if bare[:1].isalpha() else name) + pack


def _tag(tag: str | None) -> str | None:
    return figures.tag(tag) if tag else None


def _fullness(judged: Sequence[Image]) -> Markup | None:
    known = [image for image in judged if image.paged is not None]
    if not known:
        return None
    bins = [[0.0, 0.0] for _ in range(_TENTHS)]
    for image in known:
        slot = min(int((image.paged or 0.0) * _TENTHS), _TENTHS - 1)
        bins[slot][image.verdict not in ("exhibits", "unexpected")] += 1
    stacks = [charts.Stack(f"{10 * index}-{10 * index + 10}", each) for index, each in enumerate(bins)]
    title = "How full paged pool is"
    words = f"{len(known):,} images by the share of paged pool in use."
    picture = charts.columns(title, stacks, words, axis="percent full", unit="images", colours=("bad", "bar"))
    keys = parts.legend((("bad", "exhibit the leak"), ("bar", "do not, or inconclusive")))
    return parts.figure(title, picture, text=words, legend=keys)


def _table(images: Sequence[Image]) -> Markup:
    columns = [
        parts.Column("Image"), parts.Column("Verdict", "choice"), parts.Column("Status", "choice", True),
        parts.Column("Windows", "choice", True), parts.Column("Fix", "choice", True),
        parts.Column("Paged full", "number"), parts.Column("Suspect", "code", True),
        parts.Column("Unloaded most", minor=True), parts.Column("Time of the image", minor=True),
    ]  # fmt: skip
    start = _common(images)
    rows = [_row(image, start) for image in images]
    caption = f"Files below {start}" if start else "Files"
    return parts.table(parts.Table(caption, columns, rows, tools=True, id="files", limit=200))


def _common(images: Sequence[Image]) -> str:
    """The folder that all paths begin with."""
    paths = [image.path.replace("\\", "/") for image in images]
    if not paths:
        return ""
    low, high = min(paths), max(paths)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[: low[:same].rfind("/") + 1]


def _row(image: Image, start: str) -> tuple[parts.Cell | str, ...]:
    verdict = (image.verdict or "-").replace("-", " ") if image.verdict else "-"
    return (
        parts.Cell(image.path[len(start) :], link=image.page),
        parts.Cell(verdict, tone=TONES.get(image.verdict or "", "")),
        image.status,
        _product(image) if image.verdict else "-",
        image.fix_state or "-",
        parts.Cell(figures.percent(image.paged), image.paged),
        _tag(image.suspect) or "-",
        image.unloaded_most or "-",
        figures.moment(image.system_time),
    )


def failure(image: Image, troubles: Iterable[Trouble], tool: str = "") -> str:
    """The page of a file that was not judged: what happened, each time."""
    rows = [
        ("File", Markup("<code>{}</code>").format(shown(image.path))),
        ("Status", image.status),
        ("Reason", image.reason or "-"),
    ]
    attempts = [
        parts.card(
            f"{trouble.at}: {trouble.status}",
            parts.joined(parts.paragraph(trouble.reason), _detail(trouble)),
        )
        for trouble in troubles
    ]
    sections = [Section("status", "What happened", parts.joined(parts.facts(rows), *attempts))]
    skipped = image.status == "skipped"
    word = "Passed over" if skipped else "Could not be judged"
    banner = Banner("Batch", word, image.reason or image.status, "good" if skipped else "unsure")
    name = image.path.replace("\\", "/").rpartition("/")[2]
    return page(f"{word} - {name}", sections, banner=banner, source=image.path, home=HOME, tool=tool)


def _detail(trouble: Trouble) -> Markup:
    if not trouble.detail:
        return Markup("")
    lines = Markup("\n").join(shown(line) for line in trouble.detail.splitlines())
    return parts.folded(f"Details: {trouble.kind}", Markup("<pre>{}</pre>").format(lines))

