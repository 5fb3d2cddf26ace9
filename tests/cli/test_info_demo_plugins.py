"""``dumpscan info``, ``demo`` and ``plugins``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import samples
from tests.acceptance import image
from tests.cli.conftest import Written
from tests.cli.run import ROOT, process, run


def test_the_first_line_says_what_the_file_is(hung: Written) -> None:
    size = hung.path.stat().st_size
    first = run("info", hung.path).stdout.splitlines()[0]
    assert first.startswith("leak.dmp: 32-bit Windows kernel (summary) dump")
    assert f", {size:,} of {size:,} bytes, " in first
    assert first.endswith(", complete")


def test_identity_as_the_writer_has_it(hung: Written) -> None:
    shown = json.loads(run("info", "--format", "json", hung.path).stdout)
    kernel = hung.truth["kernel"]
    assert shown["kernel"]["version"] == kernel["file_version"]
    assert shown["kernel"]["pdb"] == {"name": kernel["pdb"], "guid": kernel["guid"], "age": kernel["age"]}
    assert shown["kernel"]["build_lab"] == kernel["build_lab"]
    assert shown["header"]["kdbg"] == hung.truth["addresses"]["KdDebuggerDataBlock"]
    assert len(shown["drivers"]["loaded"]) == len(hung.truth["modules"])
    assert shown["notes"] == []


def test_a_kernel_that_is_not_found_is_a_note(hung: Written, tmp_path: Path) -> None:
    raw = tmp_path / "noise.raw"
    raw.write_bytes((bytes(range(256)) * 16 + bytes(4096)) * 512)  # 4 MB of no kernel
    result = run("info", "--format", "json", raw)
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["kernel"] is None
    assert shown["notes"]
    assert run("verdict", raw).exit_code == 6


def test_a_raw_image_cannot_tell_whether_it_is_whole(tmp_path: Path) -> None:
    machine = samples.build(profile="xpsp3-x86-pae", scenario="healthy", seed=7)
    path = samples.write(machine, "raw", tmp_path / "memory.raw")
    first = run("info", path).stdout.splitlines()[0]
    assert first.endswith(f"{path.stat().st_size // 4096:,} pages, not visibly truncated")


def test_a_triage_dump_shows_its_lists() -> None:
    shown = json.loads(run("info", "--format", "json", image("triage_x64")).stdout)
    assert shown["image"]["format"] == "triage64"
    assert (shown["header"]["arch"], shown["header"]["build"]) == ("x64", 19041)
    assert {"ntoskrnl.exe", "hal.dll"} <= {each["name"] for each in shown["drivers"]["loaded"]}
    text = run("info", image("triage_x64")).stdout
    assert "ntoskrnl.exe" in text
    assert "small (triage) dump" in text.splitlines()[0]


def test_demo_judges_what_it_wrote(tmp_path: Path) -> None:
    done = process("demo", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    answers = [line for line in done.stdout.splitlines() if line.startswith("KB950162")]
    assert "· EXHIBITS ·" in answers[0]
    assert "· DOES NOT EXHIBIT ·" in answers[1]
    assert len(list((tmp_path / "sample-dumps").glob("*.dmp"))) == 2


def test_demo_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("demo", tmp_path / "file" / "below")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


def test_plugins_prints_a_folder_with_the_plugins() -> None:
    result = run("plugins")
    assert result.exit_code == 0
    assert result.stdout == f"{ROOT / 'plugins'}\n"
    assert (Path(result.stdout.strip()) / "dumpscan" / "kb950162.py").is_file()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["verdict", "-h"]])
def test_help_and_version_are_data(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "dumpscan" in result.stdout
