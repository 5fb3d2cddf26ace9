"""A store as a folder of HTML pages: ``index.html`` and one page for each image.

Pages are written by several processes, each with a connection of its own. A page that is already
there and newer than its image's row is left alone, so that a dashboard follows a growing store. A
stamp tells which store and version the pages are of; it is gone while pages of another are replaced,
so that a run that was stopped never leaves a mixture that counts as whole.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

from dumpscan import __version__
from dumpscan.batch.privacy import unchanged, without_contents
from dumpscan.batch.store import read_store
from dumpscan.errors import UsageError
from dumpscan.report.html.dashboard import FOLDER, HOME, INDEX, Image, Trouble, failure, overview

Progress = Callable[[str, int, int], None]

_IMAGES = """SELECT i.id, i.path, i.status, i.reason, i.seconds, r.verdict, r.summary, r.product,
  r.service_pack, r.version, r.fix_state, r.paged_fullness, r.nonpaged_fullness, r.suspect,
  r.unloaded_most, r.system_time
  FROM images i LEFT JOIN results r ON r.image_id = i.id WHERE i.status IS NOT NULL ORDER BY i.path"""
_MOST_TAGS = 60
_CHUNK = 64
_STAMP = ".written-by"
_NUMBERED = re.compile(r"\d{6,}\.html")


def write(store: Path, folder: Path, progress: Progress | None = None, *, contents: bool = True) -> int:
    """Write the dashboard of ``store`` below ``folder``; returns how many pages were (re)written.

    Without ``contents`` nothing of what blocks hold is shown.

    :raises UsageError: the folder cannot be written.
    """
    with closing(read_store(store)) as connection:
        images = [Image(*row) for row in connection.execute(_IMAGES)]
        analysed = dict(connection.execute("SELECT id, analysed FROM images"))
        first_run = connection.execute("SELECT min(started) FROM runs").fetchone()[0]
    how = "" if contents else " without contents"
    maker = f"{__version__}{how} of {store.resolve()} begun {first_run}"
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        kept = _begin(folder / FOLDER, maker, images)
        due = [image for image in images if not (kept and _fresh(folder, image, analysed[image.number]))]
        _pages(partial(write_pages, store, folder, contents=contents), due, progress)
        _replace(folder / INDEX, overview(images, str(store), f"dumpscan {__version__}"))
        (folder / FOLDER / _STAMP).write_text(maker, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return len(due)


def _begin(pages: Path, maker: str, images: Sequence[Image]) -> bool:
    """Are pages that are there of this store, version and way? Those of images it lacks are removed."""
    stamp = pages / _STAMP
    if not stamp.is_file():
        return False
    kept = stamp.read_text(encoding="utf-8", errors="replace") == maker
    if not kept:
        stamp.unlink()
    names = {Path(image.page).name for image in images}
    for page in pages.glob("*.html"):
        if _NUMBERED.fullmatch(page.name) and page.name not in names:
            page.unlink()
    return kept


def _fresh(folder: Path, image: Image, analysed: str | None) -> bool:
    """Was the page written after the image was analysed?"""
    page = folder / image.page
    if analysed is None or not page.is_file():
        return False
    when = datetime.fromisoformat(analysed.replace("Z", "+00:00")).timestamp()
    # Times in the store are cut to seconds: a page of the same second may be older than the row.
    return page.stat().st_mtime > when + 1


def _pages(
    work: Callable[[Sequence[Image]], int], due: Sequence[Image], progress: Progress | None
) -> None:
    chunks = [due[at : at + _CHUNK] for at in range(0, len(due), _CHUNK)]
    done = 0
    for written in _run(work, chunks):
        done += written
        if progress is not None:
            progress("pages", done, len(due))


def _run(work: Callable[[Sequence[Image]], int], chunks: Sequence[Sequence[Image]]) -> Iterator[int]:
    workers = min(os.cpu_count() or 1, len(chunks))
    if workers <= 1:
        yield from map(work, chunks)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(work, chunks)


def write_pages(store: Path, folder: Path, images: Sequence[Image], *, contents: bool = True) -> int:
    """Write the pages of some images; runs in a process of its own."""
    changed = unchanged if contents else without_contents
    with closing(read_store(store)) as connection:
        for image in images:
            _replace(folder / image.page, _page(connection, image, changed))
    return len(images)


def _page(connection: sqlite3.Connection, image: Image, changed: Callable[[str], str]) -> str:
    rows = connection.execute("SELECT document FROM documents WHERE image_id = ?", (image.number,))
    if (found := rows.fetchone()) is not None:
        from dumpscan.model import Verdict, from_dict
        from dumpscan.report.html import verdict

        document = changed(found[0])
        known = from_dict(Verdict, json.loads(document))
        return verdict.render(known, home=HOME, most=_MOST_TAGS, document=document)
    rows = connection.execute(
        "SELECT at, status, kind, reason, detail FROM errors WHERE image_id = ? ORDER BY id", (image.number,)
    )
    return failure(image, [Trouble(*row) for row in rows], f"dumpscan {__version__}")


def _replace(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    partial_path = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial_path.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial_path, path)
    finally:
        partial_path.unlink(missing_ok=True)
