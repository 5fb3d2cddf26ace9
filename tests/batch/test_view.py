"""Progress for logs and terminals, and the table at the end."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from dumpscan.batch.job import Job, Outcome, Status
from dumpscan.batch.run import Summary
from dumpscan.cli.batch_view import make_view, summary_lines

DONE = Outcome(Job("/a", "/a"), Status.OK, columns={"verdict": "exhibits"})


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with make_view(jsonl=None, quiet=False, stream=stream) as view:
        view.begin({("skipped", None): 20}, 80)
        for _ in range(10):
            now[0] += 0.9
            view.done(DONE)
        assert stream.getvalue() == ""
        now[0] = 10.0
        view.tick()
        now[0] = 11.0
        view.tick()
    # 10 in 10 seconds, 70 to come.
    assert stream.getvalue() == ("dumpscan: 30 of 100 files, 1.0/s, 1 min left: 10 exhibits, 20 skipped\n")


def test_quiet_says_nothing_and_json_lines_are_flushed_at_once() -> None:
    stream, jsonl = io.StringIO(), io.StringIO()
    with make_view(jsonl=jsonl, quiet=True, stream=stream) as view:
        view.begin({}, 1)
        view.done(DONE)
        assert (
            jsonl.getvalue()
            == '{"path": "/a", "status": "ok", "reason": "", "seconds": 0.0, "result": null}\n'
        )
    assert stream.getvalue() == ""


def on_a_terminal(use: Callable[[TextIO], None]) -> str:
    """What ``use`` sends to a terminal."""
    pty = pytest.importorskip("pty", reason="needs a pseudo terminal")
    leader, follower = pty.openpty()
    with open(follower, "w", encoding="utf-8") as stream:
        use(stream)
        stream.flush()
        os.set_blocking(leader, False)
        shown = b""
        with contextlib.suppress(BlockingIOError):  # All of it was read.
            while chunk := os.read(leader, 1 << 16):
                shown += chunk
    os.close(leader)
    return shown.decode()


@pytest.mark.parametrize(("columns", "bar"), [(80, True), (40, False)])
def test_a_terminal_gets_a_bar_and_all_counts(
    monkeypatch: pytest.MonkeyPatch, columns: int, bar: bool
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ("unsupported", "damaged", "timeout", "memory", "crashed", "error", "skipped")

    def use(stream: TextIO) -> None:
        with make_view(jsonl=None, quiet=False, stream=stream) as view:
            view.begin({(name, None): 1000 for name in names}, 3000)
            view.done(DONE)

    shown = on_a_terminal(use)
    assert "7,000 of 10,000 files" in shown
    assert all(f"1,000 {name}" in " ".join(shown.split()) for name in names)
    assert ("\u2501" in shown) is bar
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_ctrl_c_while_the_bar_appears_brings_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # The last step of its start.
    monkeypatch.setattr("rich.live._RefreshThread.start", interrupted)

    def use(stream: TextIO) -> None:
        with pytest.raises(KeyboardInterrupt), make_view(jsonl=None, quiet=False, stream=stream):
            pass

    shown = on_a_terminal(use)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_the_table_at_the_end() -> None:
    counts = {("ok", "exhibits"): 1200, ("ok", "inconclusive"): 3, ("timeout", None): 2, ("skipped", None): 1}
    lines = list(summary_lines(Summary(1206, 6, counts), Path("s.sqlite")))
    assert lines == [
        "1,206 files, 6 analysed now, 1,206 recorded in s.sqlite",
        "      1,200  exhibits          show KB950162",
        "          3  inconclusive      hold too little to tell",
        "          2  timeout           took too long",
        "          1  skipped           are no memory images",
        "2 images were not judged; the reasons: dumpscan report s.sqlite --format csv",
    ]
    stopped = list(summary_lines(Summary(9, 1, {("ok", "exhibits"): 1}, signal=2), Path("s.sqlite")))
    assert stopped[-1] == "interrupted: the same command again continues"
