"""Contents of pool blocks as files, for ``dumpscan allocations --extract``.

A file is named by the block's address and what its tag has of letters and digits: tags come from a
memory image and are never trusted with a path. Files, their number and their sum are bounded.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dumpscan.errors import UsageError

if TYPE_CHECKING:
    from dumpscan.cli.allocations import Block
    from dumpscan.kernel.kernel import Kernel

MOST_FILES = 100_000
MOST_BYTES = 4 << 30
INDEX = "index.csv"
INDEX_COLUMNS = ("file", "address", "tag", "pool", "bytes", "kind", "state", "written_bytes", "missing_bytes")


def extract_blocks(kernel: Kernel, blocks: Iterator[Block], folder: Path) -> list[Block]:
    """Write the blocks' contents and an index to ``folder``; return the blocks that were written.

    Bytes that the image does not hold are written as zeros and counted as ``missing_bytes``.

    :raises UsageError: the folder is not empty or cannot be written.
    """
    try:
        _make_empty(folder)
        return _write_all(kernel, blocks, folder)
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{error.filename or folder}: cannot be written ({why})") from error


def file_name(address: int, tag: str) -> str:
    """``0xe1001000-IoSe.bin``; anything but ASCII letters and digits becomes an underscore."""
    return f"{address:#x}-{re.sub('[^A-Za-z0-9]', '_', tag)[:16]}.bin"


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder}: is not empty; name a new folder, so that nothing is overwritten")


def _write_all(kernel: Kernel, blocks: Iterator[Block], folder: Path) -> list[Block]:
    from dumpscan.pool.allocations import read_content

    written: list[Block] = []
    total = 0
    with (folder / INDEX).open("x", encoding="utf-8", newline="") as stream:
        index = csv.writer(stream, lineterminator="\n")
        index.writerow(INDEX_COLUMNS)
        for block in islice(blocks, MOST_FILES):
            if total >= MOST_BYTES:
                return _stopped(written, f"{MOST_BYTES >> 30} GB")
            content, missing = read_content(kernel, block.address, block.bytes, block.header)
            name = file_name(block.address, block.tag)
            with (folder / name).open("xb") as sink:
                sink.write(content)
            index.writerow((name, hex(block.address), *block[1:-1], len(content), missing))
            written.append(block)
            total += len(content)
    if next(blocks, None) is not None:
        return _stopped(written, f"{MOST_FILES:,} files")
    return written


def _stopped(written: list[Block], limit: str) -> list[Block]:
    click.echo(
        f"dumpscan: warning: stopped at {limit}, {len(written):,} blocks written; narrow the choice with "
        "--tag, --min-size or --pool",
        err=True,
    )
    return written
