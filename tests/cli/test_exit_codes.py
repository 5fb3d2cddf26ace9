"""What a script sees of a bad file: the exit code, one line on stderr, nothing on stdout."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dumpscan.cli import guard
from tests.acceptance import image
from tests.cli.conftest import Written
from tests.cli.run import ROOT, process, run

COMMANDS = (["verdict"], ["info"], ["pools"], ["allocations"])


def _missing(path: Path) -> None:
    pass


def _directory(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.touch()


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MEMORY.DMP", b"PAGEDUMP" * 5000)


def _minidump(path: Path) -> None:
    # MINIDUMP_HEADER: signature, version, one stream, its directory right behind the header.
    path.write_bytes(struct.pack("<4sIIIIIQ", b"MDMP", 0xA793, 1, 32, 0, 0, 0) + bytes(8192))


def _text(path: Path) -> None:
    words = random.Random(1).choices(["pool", "leak", "driver", "the", "of", "unload"], k=9000)
    path.write_text(" ".join(words), encoding="ascii")


def _broken_header(path: Path) -> None:
    path.write_bytes(b"PAGE" + b"\xff" * 8188)


BAD: list[tuple[Callable[[Path], None], int]] = [
    (_missing, 3),
    (_directory, 3),
    (_empty, 4),
    (_zip, 4),
    (_minidump, 4),
    (_text, 4),
    (_broken_header, 6),
]


def one_line(text: str) -> bool:
    return text.startswith("dumpscan: error: ") and text.count("\n") == 1 and len(text) > 30


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
@pytest.mark.parametrize(("make", "code"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_bad_files(tmp_path: Path, command: list[str], make: Callable[[Path], None], code: int) -> None:
    make(tmp_path / "file")
    result = run(*command, tmp_path / "file")
    assert (result.exit_code, result.stdout) == (code, "")
    assert one_line(result.stderr)
    assert "file" in result.stderr


@pytest.mark.parametrize(("make", "code"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
def test_json_of_a_bad_file_is_no_output_at_all(
    tmp_path: Path, make: Callable[[Path], None], code: int
) -> None:
    make(tmp_path / "file")
    result = run("verdict", "--format", "json", tmp_path / "file")
    assert (result.exit_code, result.stdout) == (code, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["verdict"],
        ["verdict", "--format", "pdf", "x"],
        ["verdict", "--census", "guess", "x"],
        ["pools", "--top", "0", "x"],
        ["pools", "--sort", "colour", "x"],
        ["pools", "--symbols", "/no/such/folder", "x"],
        ["verdict", "--no-such-option", "x"],
    ],
    ids=" ".join,
)
def test_usage_errors(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert one_line(result.stderr)


def test_a_broken_threshold_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[KB950162]\nno_such_threshold = 1\n", encoding="utf-8")
    result = run("verdict", "--thresholds", tmp_path / "mine.toml", tmp_path / "image")
    assert result.exit_code == 2
    assert "no_such_threshold" in result.stderr


def test_exit_code_option(hung: Written, healthy: Written, unexpected: Written) -> None:
    found = [run("verdict", "--exit-code", each.path).exit_code for each in (hung, healthy, unexpected)]
    assert [each.truth["expected"]["verdict"] for each in (hung, healthy, unexpected)] == [
        "exhibits",
        "does-not-exhibit",
        "unexpected",
    ]
    assert found == [10, 0, 11]


def test_without_the_option_an_answer_is_success(hung: Written, unexpected: Written) -> None:
    assert [run("verdict", each.path).exit_code for each in (hung, unexpected)] == [0, 0]


def test_a_triage_dump_is_inconclusive() -> None:
    result = run("verdict", "--exit-code", image("triage_x64"))
    assert result.exit_code == 12
    assert "INCONCLUSIVE" in result.stdout.splitlines()[0]


def test_a_truncated_dump_is_analysed_as_far_as_it_goes(hung: Written, tmp_path: Path) -> None:
    whole = hung.path.read_bytes()
    cut = tmp_path / "cut.dmp"
    cut.write_bytes(whole[: len(whole) * 9 // 10])
    result = run("info", cut)
    assert result.exit_code == 0
    first = result.stdout.splitlines()[0]
    assert first.startswith("cut.dmp: ")
    assert first.endswith("TRUNCATED")
    assert f"{len(whole) * 9 // 10:,} of {len(whole):,} bytes" in first
    assert run("verdict", "--format", "json", cut).exit_code in (0, 6)


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dumpscan.case.open_case", interrupt)
    result = run("verdict", tmp_path)
    assert (result.exit_code, result.output) == (guard.INTERRUPTED, "") == (130, "")


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_70_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, debug: bool) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("dumpscan.case.open_case", fail)
    monkeypatch.setenv("DUMPSCAN_DEBUG", "1" if debug else "")
    result = run("verdict", tmp_path)
    assert (result.exit_code, result.stdout) == (70, "")
    assert "dumpscan: error: internal error (ZeroDivisionError: division by zero)" in result.stderr
    assert ("Traceback" in result.stderr) is debug
    assert (result.stderr.count("\n") == 1) is not debug


def test_an_error_cannot_obey_the_terminal(tmp_path: Path) -> None:
    result = run("verdict", tmp_path / "\x1b[31mred")
    assert result.exit_code == 3
    assert "\x1b" not in result.stderr
    assert r"\x1b[31mred" in result.stderr


def test_a_reader_that_goes_away_is_no_error(hung: Written) -> None:
    command = f'"{sys.executable}" -m dumpscan pools --format jsonl "{hung.path}" | head -n 1'
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    row, status = done.stdout.splitlines()
    assert row.startswith('{"tag"')
    assert status in ("0", str(guard.BROKEN_PIPE))  # 0 when all of it fitted into the pipe
    assert done.stderr == ""


def test_closed_output_is_141(hung: Written) -> None:
    code = (
        "import os, sys\nfrom dumpscan.cli.main import cli\n"
        "read, write = os.pipe()\nos.close(read)\nos.dup2(write, 1)\n"
        f"cli.main(['pools', {str(hung.path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (141, "")


def test_as_a_process(hung: Written, tmp_path: Path) -> None:
    found = process("verdict", "--exit-code", hung.path)
    assert (found.returncode, found.stderr) == (10, "")
    assert "EXHIBITS" in found.stdout.splitlines()[0]
    missing = process("verdict", "--format", "json", tmp_path / "no.dmp")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert one_line(missing.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "dumpscan", "plugins"]
        found = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("dumpscan: error: the output cannot be written (")
    assert found.stderr.count("\n") == 1
