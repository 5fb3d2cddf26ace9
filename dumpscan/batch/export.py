"""A store as CSV, as ``dumpscan.report/1`` and as Parquet: rows stream, a large store is never in memory."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from dumpscan.batch.job import Outcome
from dumpscan.batch.privacy import unchanged
from dumpscan.errors import UsageError
from dumpscan.report.table import csv_lines

REPORT_SCHEMA = "dumpscan.report/1"

IMAGE_COLUMNS = ("path", "status", "reason", "seconds", "size", "format", "content_id", "analysed")
RESULT_COLUMNS = (
    "verdict",
    "summary",
    "signature_state",
    "fix_state",
    "fixed_version",
    "product",
    "service_pack",
    "version",
    "branch",
    "arch",
    "pae",
    "bugcheck",
    "system_time",
    "uptime_seconds",
    "tagging",
    "paged_bytes",
    "paged_fullness",
    "nonpaged_bytes",
    "nonpaged_fullness",
    "unloads",
    "unloaded_most",
    "top_tags",
    "suspect",
    "suspect_share",
    "suspects",
    "truncated",
)
COLUMNS = (*IMAGE_COLUMNS, *RESULT_COLUMNS)

_FROM = "FROM images i LEFT JOIN results r ON r.image_id = i.id"
_SELECT = ", ".join([*(f"i.{name}" for name in IMAGE_COLUMNS), *(f"r.{name}" for name in RESULT_COLUMNS)])
_WHERE = "WHERE i.status IS NOT NULL ORDER BY i.path"
_DOCUMENT = "LEFT JOIN documents d ON d.image_id = i.id"
_ROW_GROUP = 2000
_TYPES = {"REAL": "float64", "INTEGER": "int64"}
_BOOLEANS = ("pae", "truncated")


def line_of(outcome: Outcome) -> str:
    """An outcome as one JSON line, with the keys of an image in ``dumpscan.report/1``."""
    return _entry(outcome.job.key, outcome.status.value, outcome.reason, outcome.seconds, outcome.document)


def json_parts(
    connection: sqlite3.Connection, store: str, changed: Callable[[str], str] = unchanged
) -> Iterator[str]:
    """The document ``dumpscan.report/1``, an image a line. ``changed`` is applied to each result."""
    yield f'{{"schema": {json.dumps(REPORT_SCHEMA)}, "store": {json.dumps(store)}, "images": ['
    rows = connection.execute(
        f"SELECT i.path, i.status, i.reason, i.seconds, d.document FROM images i {_DOCUMENT} {_WHERE}"
    )
    separator = "\n"
    for path, status, reason, seconds, document in rows:
        told = document and changed(document)
        yield separator + _entry(path, status, reason, seconds, told).rstrip("\n")
        separator = ",\n"
    yield "\n]}\n"


def csv_rows(connection: sqlite3.Connection) -> Iterator[str]:
    """A heading, then a line for each image; unknown is an empty field."""
    rows = connection.execute(f"SELECT {_SELECT} {_FROM} {_WHERE}")
    return csv_lines(COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows))


def write_parquet(
    connection: sqlite3.Connection, path: Path, changed: Callable[[str], str] = unchanged
) -> None:
    """The columns of the CSV and ``document``, the whole result as JSON text. The file appears whole.
    ``changed`` is applied to each document.

    :raises UsageError: the extra is not installed, or the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'dumpscan[parquet]'") from error
    types = [(name, pyarrow.type_for_alias(_type(connection, name))) for name in (*COLUMNS, "document")]
    schema = pyarrow.schema(types)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    rows = connection.execute(f"SELECT {_SELECT}, d.document {_FROM} {_DOCUMENT} {_WHERE}")
    try:
        with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            told = ((*row, document and changed(document)) for *row, document in rows)
            while group := list(islice(told, _ROW_GROUP)):
                columns = zip(*group, strict=True)
                arrays = [
                    pyarrow.array(_values(field.name, column), field.type)
                    for field, column in zip(schema, columns, strict=True)
                ]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
        os.replace(partial, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _entry(path: str, status: str, reason: str, seconds: float | None, document: str | None) -> str:
    head = json.dumps({"path": path, "status": status, "reason": reason, "seconds": seconds})
    return f'{head[:-1]}, "result": {document or "null"}}}\n'


def _type(connection: sqlite3.Connection, name: str) -> str:
    if name in _BOOLEANS:
        return "bool"
    for table in ("images", "results"):
        for row in connection.execute(f"PRAGMA table_info({table})"):
            if row[1] == name:
                return _TYPES.get(row[2], "string")
    return "string"


def _values(name: str, column: tuple[Any, ...]) -> list[Any]:
    if name in _BOOLEANS:
        return [None if value is None else bool(value) for value in column]
    return list(column)
