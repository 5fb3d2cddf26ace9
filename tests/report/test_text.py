"""The verdict as text: what stands first, what fits, what a crafted image cannot do."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dumpscan.model import Drivers, ImageInfo, Pool, TagUse, Unloads, Verdict
from dumpscan.report import plain, safe, text
from dumpscan.report.blocks import Headline
from tests.report.documents import SUSPECT, TAGS, WALKED, verdict

ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_answer_stands_in_the_first_line() -> None:
    shown = text.render(verdict(), 200).splitlines()[0]
    assert shown == ("KB950162 · EXHIBITS · IoSe and 'Pp  ' hold 71 % of paged pool, paged pool is 98 % full")


@pytest.mark.parametrize(
    "part",
    [
        "hung-01.dmp: 32-bit kernel crash dump, 32,464,896 of 32,464,896 bytes, 7,923 of 7,923 pages",
        "Windows XP Service Pack 3 x86 PAE, 5.1.2600.5512 (rtm branch)",
        "ntkrnlpa.pdb 30B5FB31AE7E4ACAABA750AA241FF331 age 1",
        "found by header, base 0x804d7000, dtb 0x319000",
        "bug check 0xe2 MANUALLY_INITIATED_CRASH, 2008-05-28T12:00:00Z, up 8 h 36 min, 1 processor",
        "vulnerable: older than the fix",
        "fixed by Ntkrnlpa.exe 5.1.2600.5586, 2,066,048 bytes, 23-Apr-2008",
        "paged 21.1 MB of 22.0 MB in use (96 %)",
        "nonpaged 3.1 MB of 32.0 MB in use (9.8 %)",
        "unloads since boot: 26,015; last unloaded: hwmon32.sys x 47",
        "Evidence for KB950162: present",
        "+ IoSe: 26,031 outstanding [PoolTrackTable 0x8055c600]",
        "Install it.",
    ],
)
def test_what_follows_the_answer(part: str) -> None:
    assert part in text.render(verdict(), 200)


def test_the_tag_table_is_sorted_by_bytes_and_quotes_blanks() -> None:
    lines = text.render(verdict()).splitlines()
    start = lines.index("Largest pool tags")
    assert [line.split()[0] for line in lines[start + 2 : start + 5]] == ["'Pp", "CM35", "IoSe"]
    assert re.search(r"'Pp  '\s+paged\s+52,286\s+137\s+52,149\s+4,584,976\s+87$", lines[start + 2])


def test_both_tags_are_shown_however_small() -> None:
    many = tuple(TagUse(f"T{i:03}", TAGS[2].paged, TAGS[2].nonpaged, "tracker") for i in range(40))
    small = (
        TagUse("IoSe", type(TAGS[0].paged)(30, 7, 23, 3256), TAGS[2].nonpaged, "tracker"),
        TagUse("Pp  ", type(TAGS[0].paged)(146, 28, 118, 8824), TAGS[2].nonpaged, "tracker"),
    )
    shown = text.render(verdict(pool=Pool(tags=(*many, *small))))
    assert "T009" in shown and "T010" not in shown
    assert "IoSe    paged" in shown and "'Pp  '  paged" in shown


def test_suspects_are_listed() -> None:
    assert "  ! MfeL holds 45 %" in text.render(verdict(suspects=(SUSPECT,)))


def test_truncation_is_shouted() -> None:
    image = ImageInfo("x.dmp", "crash32-full", 100, 4096, truncated=True)
    assert "100 of 4,096 bytes, TRUNCATED" in text.render(verdict(image=image), 200)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_nothing_is_wider_than_asked(width: int) -> None:
    for document in (verdict(), verdict(pool=Pool(tags=WALKED), suspects=(SUSPECT,))):
        assert max(len(line) for line in text.render(document, width).splitlines()) <= width


def test_the_blanks_of_a_tag_are_never_broken_over_lines() -> None:
    for width in range(40, 100):
        assert "'Pp  '" in plain.render(
            [Headline("IoSe and 'Pp  ' hold 71 % of paged pool, it is full", "bad")], width
        )
        assert "'Pp  '" in text.render(verdict(), width).split("\n\n")[0]


EVIL = "evil\x1b[2J\x1b]0;owned\x07\r\nKB950162 · CLEAN\u202e.sys\x9b31m"


@pytest.mark.parametrize("colour", [False, True])
def test_names_from_memory_cannot_reach_the_terminal_raw(colour: bool) -> None:
    tag = TagUse("\x1b[2J", *(TAGS[0].paged, TAGS[0].nonpaged), "tracker")
    image = ImageInfo("a\nb.dmp", "raw", 5, comment=EVIL)
    drivers = Drivers(None, (Unloads(EVIL, 9, None, None),))
    document = verdict(image=image, drivers=drivers, pool=Pool(tags=(tag,)))
    stream = Terminal()
    text.write(document, stream, colour=colour)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()) if colour else stream.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "\nKB950162 · CLEAN" not in shown
    assert r"\x1b[2J" in shown and r"\u202e" in shown and r"a\x0ab.dmp" in shown


def test_markup_in_names_is_not_obeyed() -> None:
    stream = Terminal()
    text.write(
        verdict(drivers=Drivers(None, (Unloads("[red]x[/red].sys", 9, None, None),))), stream, colour=True
    )
    assert "[red]x[/red].sys" in stream.getvalue()


def test_colour_only_on_a_terminal_and_not_against_the_users_will(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert text.wants_colour(Terminal()) is True
    assert text.wants_colour(io.StringIO()) is False
    monkeypatch.setenv("NO_COLOR", "1")
    assert text.wants_colour(Terminal()) is False
    stream = Terminal()
    text.write(verdict(), stream)
    assert "\x1b" not in stream.getvalue()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert text.wants_colour(Terminal()) is False


def test_terminal_and_pipe_say_the_same() -> None:
    stream = Terminal()
    text.write(verdict(suspects=(SUSPECT,)), stream, colour=True)
    assert "\x1b[" in stream.getvalue()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert shown.split() == text.render(verdict(suspects=(SUSPECT,))).split()


def test_an_encoding_without_the_characters_gets_escapes_instead_of_an_error() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    safe.write(
        stream, text.render(verdict(drivers=Drivers(None, (Unloads("dr\u00fcck.sys", 1, None, None),))))
    )
    assert b"KB950162 - EXHIBITS" in raw.getvalue() and b"dr\\xfcck.sys" in raw.getvalue()


def test_printable_leaves_plain_text_and_paths_alone() -> None:
    assert safe.printable(r"\Device\Harddisk0 Ünïcode 日本") == r"\Device\Harddisk0 Ünïcode 日本"
    assert safe.printable("a\x00b\ud800\U000e0001") == r"a\x00b\ud800\U000e0001"


def test_piped_output_does_not_import_rich() -> None:
    script = (
        "import sys, io; from tests.report.documents import verdict; "
        "from dumpscan.report import text, json, table;"
        "text.write(verdict(), io.StringIO()); json.render(verdict());"
        "sys.exit(any(name.split('.')[0] in ('rich', 'numpy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_unknown_everything_still_renders() -> None:
    from dumpscan.model import Fix, Judgement, KernelInfo, Machine, SignatureResult

    bare = Verdict(
        ImageInfo("x", "raw", 0),
        KernelInfo("nothing"),
        Machine(),
        Pool(),
        Drivers(),
        Fix("unknown"),
        SignatureResult("KB950162", "unknown"),
        (),
        Judgement("inconclusive", "no figures", "get a dump"),
    )
    shown = text.render(bare)
    assert shown.startswith("KB950162 · INCONCLUSIVE · no figures")
    assert "unknown Windows, version unknown (unknown branch)" in shown
