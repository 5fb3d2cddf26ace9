"""One image under examination: opened once, asked many questions, each answered when first asked.

This is the library's face: ``dumpscan.open(path)`` returns a :class:`Case`. It ties the rooms
together (image -> kernel -> pool -> verdict) and holds no logic of its own.
"""

from __future__ import annotations

from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from dumpscan import __version__
from dumpscan.image.opened import OpenedImage
from dumpscan.image.recognise import open_image
from dumpscan.kernel.find import Progress
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.locate import locate_kernel
from dumpscan.model import AttributionReport, Drivers, ImageInfo, Info, Pool, Pools, Tool, Verdict
from dumpscan.records import field, record, replace

if TYPE_CHECKING:
    from dumpscan.model_attribution import Attribution
    from dumpscan.pool.census import Census
    from dumpscan.verdict.judge import Settings

SAMPLE_PAGES = 64
"""Pool pages that a verdict looks into for who lost the blocks: a fiftieth of a second."""


@record
class Options:
    """How a case is examined. ``census``: auto, tables, pages or sample; ``symbol_dirs``: volatility3
    ISFs; ``contents``: may what blocks hold be shown? Dumps hold private data. ``sample_pages``: pages
    of each pool that a sample reads, unless the usual number. ``page_files`` lie beside the image, in the
    order of their numbers."""

    census: str = "auto"
    symbol_dirs: tuple[Path, ...] = ()
    settings: Settings | None = None
    progress: Progress | None = field(default=None, compare=False)
    contents: bool = True
    sample_pages: int | None = None
    page_files: tuple[Path, ...] = ()


class Case:
    """An opened memory image. Cheap to make: work is done when a question needs it.

    ``warnings`` are about page files that turned out not to belong to the image.

    :raises dumpscan.errors.ImageError: a page file is missing or none.
    :raises dumpscan.errors.UsageError: a page file is given twice, or is the image.
    """

    def __init__(self, opened: OpenedImage, options: Options | None = None) -> None:
        self.options = options or Options()
        self.opened = self._with_page_files(opened)
        self.warnings: tuple[str, ...] = ()
        self._censuses: dict[str, Census] = {}

    def _with_page_files(self, opened: OpenedImage) -> OpenedImage:
        if not self.options.page_files:
            return opened
        from dumpscan.memory.pagefiles import open_page_files

        return replace(opened, memory=open_page_files(opened.memory, opened.path, self.options.page_files))

    @property
    def info(self) -> ImageInfo:
        """What the file is."""
        return self.opened.info

    @cached_property
    def kernel(self) -> Kernel:
        """The located kernel.

        :raises KernelNotFound: no Windows kernel passes the checks, or the file carries no memory.
        """
        kernel = locate_kernel(
            self.opened, symbol_dirs=self.options.symbol_dirs, progress=self.options.progress
        )
        if kernel.info.arch == "ia64":
            from dumpscan.pool.splits import settle_split

            kernel = settle_split(kernel)
        return self._beside(kernel) if self.options.page_files else kernel

    def _beside(self, kernel: Kernel) -> Kernel:
        """Hold the page files against the image; until then nothing is read from them."""
        from dumpscan.memory.pagefiles import PageFiles
        from dumpscan.pool.pagefiles import check_page_files

        assert isinstance(self.opened.memory, PageFiles)
        found = check_page_files(kernel, self.opened.memory)
        self.warnings = found.warnings
        return replace(kernel, info=replace(kernel.info, notes=(*kernel.info.notes, *found.notes)))

    def describe(self) -> Info:
        """What the file is, what its header claims, and the kernel in it if one is found."""
        from dumpscan.kernel.overview import describe

        return replace(describe(self.opened, lambda: (self.kernel, self.drivers)), tool=_tool())

    @cached_property
    def drivers(self) -> Drivers:
        """Loaded drivers, and those that were unloaded."""
        from dumpscan.kernel.modules import drivers

        return drivers(self.kernel)

    def census(self, mode: str | None = None) -> Pool:
        """Pool figures by tag, limits and coverage. ``mode``: auto, tables, pages
        or sample.

        :raises KernelNotFound: no Windows kernel passes the checks.
        """
        return self.take_census(mode).pool

    def take_census(self, mode: str | None = None) -> Census:
        """As :meth:`census`, with where each figure was read."""
        from dumpscan.pool.census import take_census

        mode = mode or self.options.census
        if mode not in self._censuses:
            self._censuses[mode] = take_census(
                self.kernel, mode, self.options.progress, sample_pages=self.options.sample_pages
            )
        return self._censuses[mode]

    def pools(self, source: str = "auto") -> Pools:
        """Pool figures as their own document. ``source``: auto, tracker, pages or sample."""
        pool = self.census({"tracker": "tables"}.get(source, source))
        # A sample of few pages is a walk of all of them.
        asked = source in ("tracker", "pages")
        sources = sorted({use.source for use in pool.tags})
        used = source if asked else ("mixed" if len(sources) > 1 else "".join(sources) or "none")
        notes = (*pool.notes, *self._experimental())
        counted = (pool.tags, pool.coverage, pool.page_states, notes, pool.sample)
        return Pools(self.info, self.kernel.info, used, *counted)

    def _experimental(self) -> tuple[str, ...]:
        """What the kernel's notes say of figures that stand in a document without them."""
        if self.kernel.info.arch != "ia64":
            return ()
        from dumpscan.kernel.itanium import EXPERIMENTAL

        return (EXPERIMENTAL,)

    def verdict(self) -> Verdict:
        """The whole answer: kernel, fix state, pools, evidence, verdict.

        A triage dump gets an inconclusive verdict from what its header says.

        :raises KernelNotFound: no Windows kernel passes the checks.
        """
        from dumpscan.kernel.modules import places
        from dumpscan.verdict.judge import judge

        if self.opened.memory is None:
            return self._triage_verdict()
        census = self.take_census()
        # Pages count no frees and miss what is paged out: counters beside them say more.
        pool = replace(census.pool, tags=census.counted) if census.counted else census.pool
        result = judge(
            self.info,
            self.kernel.info,
            self.kernel.machine,
            pool,
            self.drivers,
            settings=self.options.settings,
            where={**places(self.kernel, self.drivers), **census.where},
        )
        # Choosing the sample reads what describes every pool page: too much to fetch from afar.
        if result.signature.state in ("present", "early") and self.opened.traffic is None:
            result = replace(result, attribution=self._sampled(pool))
        return _signed(result)

    def attribution(self, tags: tuple[str, ...] = ()) -> AttributionReport:
        """What the blocks of some tags (globs; the signature's unless given) hold, and whose they are.

        Reads every resident block of these tags.

        :raises KernelNotFound: no Windows kernel passes the checks.
        """
        found = self._attributed(tags or self._signature_tags(), self.census("tables"), None)
        return AttributionReport(self.info, self.kernel.info, self.drivers, found, _tool())

    def _sampled(self, pool: Pool) -> Attribution:
        return self._attributed(self._signature_tags(), pool, SAMPLE_PAGES)

    def _attributed(self, tags: tuple[str, ...], pool: Pool, pages: int | None) -> Attribution:
        from dumpscan.attribution.attribute import attribute, counted
        from dumpscan.pool.allocations import Filter
        from dumpscan.pool.contents import ContentReader

        reader = ContentReader(self.kernel, Filter(tags=tags, pool="paged" if pages else None), pages)
        return attribute(reader, self.drivers, counted(pool), contents=self.options.contents)

    def _signature_tags(self) -> tuple[str, ...]:
        from dumpscan.verdict.settings import Settings

        return (self.options.settings or Settings()).chosen()[0].tags

    def report(self) -> Verdict:
        """As :meth:`verdict`, with what a report to be looked at needs beyond it.

        Pictures, from a walk of the pool pages that is bounded in time; where that saw every resident
        page, the tables are held against the pages too.
        """
        verdict = self.verdict()
        if self.opened.memory is None:
            return verdict
        from dumpscan.pool.pictures import draw

        pictures = draw(self.kernel, verdict.pool.tags, verdict.signature.tags)
        if pictures is not None and pictures.share == 1.0:
            verdict = replace(verdict, pool=self._reconciled(verdict.pool))
            if verdict.attribution is not None:
                verdict = replace(verdict, attribution=self.attribution().attribution)
        return replace(verdict, pictures=pictures)

    def _reconciled(self, pool: Pool) -> Pool:
        walked = self.census("pages")
        return replace(
            pool,
            coverage=walked.coverage,
            reconciliation=walked.reconciliation,
            page_states=walked.page_states,
            untracked=walked.untracked,
            notes=tuple(dict.fromkeys((*pool.notes, *walked.notes))),
        )

    def _triage_verdict(self) -> Verdict:
        from dumpscan.kernel.smalldump import describe
        from dumpscan.verdict.judge import judge

        found = describe(self.opened)
        parts = found.kernel, found.machine, found.pool, found.drivers
        return _signed(judge(self.info, *parts, settings=self.options.settings, where=found.where))


def _signed(verdict: Verdict) -> Verdict:
    return replace(verdict, tool=_tool())


def _tool() -> Tool:
    return Tool(version=__version__)


def open_case(path: str | PathLike[str], options: Options | None = None) -> Case:
    """Open an image file as a case.

    :raises dumpscan.errors.ImageError: the file is missing, no image, unsupported or damaged.
    """
    return Case(open_image(path), options)
