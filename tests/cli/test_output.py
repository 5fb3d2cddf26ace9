"""Where results go: stdout holds data only, a file appears whole or not at all."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import pytest

from dumpscan.cli.output import emit
from dumpscan.cli.progress import Progress
from dumpscan.errors import UsageError
from tests.cli.conftest import Written
from tests.cli.run import run


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", ["verdict", "info", "pools"])
def test_json_goes_to_stdout_alone(hung: Written, command: str) -> None:
    result = run(command, "--format", "json", hung.path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["schema"] == f"dumpscan.{command}/1"


@pytest.mark.parametrize(
    ("command", "form"), [("verdict", "text"), ("verdict", "json"), ("info", "text"), ("pools", "csv")]
)
def test_a_file_holds_what_stdout_would(hung: Written, tmp_path: Path, command: str, form: str) -> None:
    shown = run(command, "--format", form, hung.path)
    written = run(command, "--format", form, "-o", tmp_path / "result", hung.path)
    assert (written.exit_code, written.stdout) == (0, "")
    assert (tmp_path / "result").read_text(encoding="utf-8") == shown.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_failed_run_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "result").write_text("old", encoding="utf-8")
    assert run("verdict", "-o", tmp_path / "result", tmp_path / "missing").exit_code == 3
    assert (tmp_path / "result").read_text(encoding="utf-8") == "old"


def test_the_image_is_never_overwritten(hung: Written, tmp_path: Path) -> None:
    (tmp_path / "link.dmp").symlink_to(hung.path)
    before = hung.path.stat()
    result = run("verdict", "-o", tmp_path / "link.dmp", hung.path)
    assert result.exit_code == 2
    assert "is the image itself" in result.stderr
    assert (hung.path.stat().st_size, hung.path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_text_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> object:
        yield "first"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emit(parts(), tmp_path / "result")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder/result: cannot be written"):
        emit(["text"], tmp_path / "no such folder" / "result")


def test_mode_of_new_and_of_replaced_files(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        emit(["text"], tmp_path / "new")
    finally:
        os.umask(old)
    (tmp_path / "kept").touch()
    (tmp_path / "kept").chmod(0o600)
    emit(["text"], tmp_path / "kept")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "kept")]
    assert modes == [0o640, 0o600]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    emit(["text"], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text(encoding="utf-8") == "text"


def test_progress_is_silent_for_a_second_then_shows_and_wipes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dumpscan.cli.progress.time.monotonic", lambda: now[0])
    stream = Terminal()
    with Progress(stream) as progress:
        now[0] = 100.9
        progress("pool pages", 9, 100)
        assert stream.getvalue() == ""
        now[0] = 101.1
        progress("pool pages", 25, 100)
        progress("pool pages", 26, 100)  # at the same moment: no second line
        assert stream.getvalue() == "\r" + "pool pages  25%".ljust(70)
    assert stream.getvalue().endswith("\r" + " " * 70 + "\r")


@pytest.mark.parametrize(("stream", "quiet"), [(io.StringIO(), False), (Terminal(), True)])
def test_progress_is_silent_off_a_terminal_or_when_asked(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, quiet: bool
) -> None:
    now = [0.0]
    monkeypatch.setattr("dumpscan.cli.progress.time.monotonic", lambda: now[0])
    with Progress(stream, quiet=quiet) as progress:
        now[0] = 10.0
        progress("pool pages", 1, 2)
    assert stream.getvalue() == ""
