"""What is due: new, changed, or asked for again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dumpscan.batch.discover import Found
from dumpscan.batch.job import Job, Listed, Outcome, Status
from dumpscan.batch.store import Run, open_store
from dumpscan.batch.todo import Again, Todo


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path / "s.sqlite", create=True)) as connection:
        yield connection


def run(store: sqlite3.Connection, tool: str = "1.0", rules: str = "r") -> Run:
    store.execute("UPDATE runs SET outcome = 'finished' WHERE outcome = 'running'")
    return Run(store, {}, tool, rules)


def due(store: sqlite3.Connection, run: Run, *found: Found, again: Again | None = None) -> list[str]:
    todo = Todo(store, run)
    todo.find(found, lambda count: None)
    todo.choose(again or Again())
    return [job.job.key if isinstance(job, Outcome) else job.key for job in taken(todo)]


def taken(todo: Todo) -> Iterator[Job | Outcome]:
    while (job := todo.next()) is not None:
        yield job


A, B, C = (Found(f"/{name}", 1, 2) for name in "abc")


@pytest.fixture
def recorded(store: sqlite3.Connection) -> sqlite3.Connection:
    """a is ok, b timed out, both by dumpscan 1.0 and rules r."""
    first = run(store)
    first.record(Outcome(Job("/a", "/a", 1, 2), Status.OK))
    first.record(Outcome(Job("/b", "/b", 1, 2), Status.TIMEOUT))
    return store


def test_what_is_not_recorded_is_due_once_and_in_order(recorded: sqlite3.Connection) -> None:
    assert due(recorded, run(recorded), C, A, Found("/0", 1, 2), C, B) == ["/c", "/0"]


def test_a_changed_file_is_due(recorded: sqlite3.Connection) -> None:
    assert due(recorded, run(recorded), Found("/a", 9, 2), Found("/b", 1, 9)) == ["/a", "/b"]


def test_a_file_that_is_gone_keeps_its_result(recorded: sqlite3.Connection) -> None:
    gone = Found("/a", status=Status.ERROR, reason="no such file")
    new = Found("/c", status=Status.ERROR, reason="no such file")
    for again in (Again(), Again(reanalyse="all")):
        assert due(recorded, run(recorded), gone, new, again=again) == ["/c"]


@pytest.mark.parametrize(
    ("again", "tool", "rules", "expected"),
    [
        (Again(), "2.0", "new", []),
        (Again(failed=True), "1.0", "r", ["/b"]),
        (Again(reanalyse="all"), "1.0", "r", ["/a", "/b"]),
        (Again(reanalyse="changed"), "1.0", "r", []),
        (Again(reanalyse="changed"), "2.0", "r", ["/a", "/b"]),
        (Again(reanalyse="changed"), "1.0", "new", ["/a", "/b"]),
    ],
)
def test_what_is_asked_for_again(
    recorded: sqlite3.Connection, again: Again, tool: str, rules: str, expected: list[str]
) -> None:
    assert due(recorded, run(recorded, tool, rules), A, B, again=again) == expected


def test_an_interrupted_reanalysis_goes_on_where_it_was(recorded: sqlite3.Connection) -> None:
    second = run(recorded)
    second.record(Outcome(Job("/a", "/a", 1, 2), Status.OK))
    second.end("interrupted")
    again = Again(failed=True, reanalyse="all")
    third = Run(recorded, {}, "1.0", "r")
    assert due(recorded, third, A, B, again=again) == ["/b"]


def test_files_of_containers_are_due_at_once_and_later(store: sqlite3.Connection) -> None:
    first, zipped = run(store), Found("/z", 1, 2)
    todo = Todo(store, first)
    todo.find([zipped, A], lambda count: None)
    todo.choose(Again())
    container = todo.next()
    assert isinstance(container, Job)
    assert isinstance(todo.next(), Job)
    assert todo.next() is None
    inside = (Listed("/z!1", '{"n": 1}', 5), Listed("/z!2", "{}", 6, Status.SKIPPED), Listed("/z!3", "{}", 7))
    first.record(Outcome(container, Status.SKIPPED, members=inside))
    assert todo.add_members("/z") == 2
    assert [job for job in taken(todo) if isinstance(job, Job)] == [
        Job("/z!1", "/z", 5, 2, None, '{"n": 1}'),
        Job("/z!3", "/z", 7, 2, None, "{}"),
    ]
    first.record(Outcome(Job("/z!1", "/z", 5, 2, None, "{}"), Status.OK))
    first.end("interrupted")
    assert due(store, run(store), zipped) == ["/z!3"]
    assert due(store, run(store), A) == ["/a"]


def test_a_state_file_is_paired_when_its_memory_file_is_found_too(store: sqlite3.Connection) -> None:
    state, memory = Found("/m.vmss", 1, 2, "/m.vmem"), Found("/m.vmem", 1, 2)
    for found, partner in (((state, memory), "/m.vmem"), ((state,), None)):
        todo = Todo(store, run(store))
        todo.find(found, lambda count: None)
        todo.choose(Again())
        job = todo.next()
        assert isinstance(job, Job)
        assert job.partner == partner


def test_counts_of_what_is_settled(recorded: sqlite3.Connection) -> None:
    todo = Todo(recorded, run(recorded))
    todo.find([A, B, C], lambda count: None)
    todo.choose(Again(failed=True))
    assert todo.size() == (3, 2)
    assert todo.counts() == {("ok", None): 1, ("timeout", None): 1}
    assert todo.counts(settled=True) == {("ok", None): 1}


def test_ten_thousand_files_are_read_in_pages(store: sqlite3.Connection) -> None:
    names = [f"/{number:05}" for number in range(10_000)]
    assert due(store, run(store), *(Found(name, 1, 2) for name in names)) == names


INSIDE = (
    Listed("/z!1", '{"n": 1}', 5),
    Listed("/z!2", '{"n": 2}', 6),
    Listed("/z!3", "{}", 7, Status.DAMAGED),
)


@pytest.fixture
def unpacked(store: sqlite3.Connection) -> sqlite3.Connection:
    """A damaged container z with 1, which is ok, 2, which crashed, and 3, which cannot be had."""
    first = run(store)
    first.record(Outcome(Job("/z", "/z", 1, 2), Status.DAMAGED, members=INSIDE))
    first.record(Outcome(Job("/z!1", "/z", 5, 2, None, '{"n": 1}'), Status.OK))
    first.record(Outcome(Job("/z!2", "/z", 6, 2, None, '{"n": 2}'), Status.CRASHED))
    return store


def statuses(store: sqlite3.Connection) -> list[tuple[str, str | None]]:
    return store.execute("SELECT path, status FROM images ORDER BY path").fetchall()


def test_files_that_a_listing_passes_over_are_found_too(store: sqlite3.Connection) -> None:
    first = run(store)
    todo = Todo(store, first)
    todo.find([Found("/z", 1, 2)], lambda count: None)
    todo.choose(Again())
    container = todo.next()
    assert isinstance(container, Job)
    first.record(Outcome(container, Status.SKIPPED, members=INSIDE))
    assert todo.add_members("/z") == 2
    assert todo.counts() == {("skipped", None): 1, ("damaged", None): 1}


def test_what_is_known_of_a_container_s_files_outlives_another_listing(unpacked: sqlite3.Connection) -> None:
    second = run(unpacked)
    todo = Todo(unpacked, second)
    todo.find([Found("/z", 1, 2)], lambda count: None)
    todo.choose(Again(failed=True))
    jobs = [job for job in taken(todo) if isinstance(job, Job)]
    assert [job.key for job in jobs] == ["/z", "/z!2", "/z!3"]
    second.record(Outcome(jobs[0], Status.DAMAGED, members=(*INSIDE, Listed("/z!4", "{}", 8))))
    assert todo.add_members("/z") == 1
    assert [job.key for job in taken(todo) if isinstance(job, Job)] == ["/z!4"]
    assert statuses(unpacked) == [
        *(("/z", "damaged"), ("/z!1", "ok"), ("/z!2", "crashed"), ("/z!3", "damaged"), ("/z!4", None)),
    ]


def test_every_file_of_a_changed_container_is_due(unpacked: sqlite3.Connection) -> None:
    second = run(unpacked)
    todo = Todo(unpacked, second)
    todo.find([Found("/z", 1, 9)], lambda count: None)
    todo.choose(Again(failed=True))
    (container,) = taken(todo)
    assert isinstance(container, Job)
    second.record(Outcome(container, Status.SKIPPED, members=INSIDE[:2]))
    assert todo.add_members("/z") == 2
    assert [job.key for job in taken(todo) if isinstance(job, Job)] == ["/z!1", "/z!2"]
    assert statuses(unpacked) == [("/z", "skipped"), ("/z!1", None), ("/z!2", None)]


def test_a_container_that_cannot_be_read_any_more_keeps_its_files(unpacked: sqlite3.Connection) -> None:
    run(unpacked).record(Outcome(Job("/z", "/z", 1, 9), Status.ERROR, "no permission"))
    assert statuses(unpacked) == [("/z", "error"), ("/z!1", "ok"), ("/z!2", "crashed"), ("/z!3", "damaged")]
