"""Fix state and signature together: code, summary, advice, suspects."""

from __future__ import annotations

from pathlib import Path

import pytest

from dumpscan.model import (
    BigUse,
    Drivers,
    ImageInfo,
    KernelInfo,
    Machine,
    Pool,
    PoolLimits,
    Unloads,
    Verdict,
    from_dict,
    to_dict,
)
from dumpscan.records import replace
from dumpscan.verdict.judge import judge
from dumpscan.verdict.settings import Settings
from dumpscan.verdict.suspects import find_suspects, load_tags
from tests.verdict import truth
from tests.verdict.machines import (
    QUIET,
    WINDOWS_7,
    XP_FIXED,
    XP_SP3,
    XP_UNSURE,
    machine_pool,
    ring,
    use,
)
from tests.verdict.test_rules import MINE, written

IMAGE = ImageInfo("hung-01.dmp", "crash32-kernel", 32_464_896)
XP_SP1 = KernelInfo("test", "Windows XP", "5.1.2600.1106", 1, "x86", build=2600)


def verdict(kernel: KernelInfo, pool: Pool, drivers: Drivers, image: ImageInfo = IMAGE) -> Verdict:
    return judge(image, kernel, Machine(), pool, drivers)


@pytest.mark.parametrize("name", truth.NAMES)
def test_acceptance_machines(name: str) -> None:
    result = judge(*truth.inputs(name))
    expected = truth.load(name)["expected"]
    assert (result.fix.state, result.verdict.code) == (expected["fix"], expected["verdict"])


def test_suspects_of_the_acceptance_machines() -> None:
    assert [s.tag for s in judge(*truth.inputs("a06-xpsp3-othertag")).suspects] == ["MfeL"]
    for name in truth.NAMES[:5]:
        assert judge(*truth.inputs(name)).suspects == ()


LEAK = (machine_pool(20_000, 40_000), ring())
EARLY = (machine_pool(300, 600, freed=(6, 20)), ring(total=305))
HEALTHY = (machine_pool(), QUIET)
BLIND = (Pool(), QUIET)


@pytest.mark.parametrize(
    ("kernel", "image", "code"),
    [
        (XP_SP3, LEAK, "exhibits"),
        (XP_SP3, EARLY, "exhibits"),
        (XP_SP1, LEAK, "exhibits"),
        (XP_SP1, EARLY, "exhibits"),
        (XP_UNSURE, LEAK, "exhibits"),
        (XP_UNSURE, EARLY, "inconclusive"),
        (XP_FIXED, LEAK, "unexpected"),
        (XP_FIXED, EARLY, "inconclusive"),
        (WINDOWS_7, LEAK, "unexpected"),
        (XP_SP3, HEALTHY, "does-not-exhibit"),
        (XP_FIXED, HEALTHY, "does-not-exhibit"),
        (WINDOWS_7, HEALTHY, "does-not-exhibit"),
        (XP_UNSURE, HEALTHY, "does-not-exhibit"),
        (XP_SP3, BLIND, "inconclusive"),
        (XP_FIXED, BLIND, "inconclusive"),
    ],
)
def test_code_by_fix_state_and_signature(kernel: KernelInfo, image: tuple[Pool, Drivers], code: str) -> None:
    result = verdict(kernel, *image)
    assert result.verdict.code == code
    assert result.verdict.summary and result.verdict.advice


def test_summary_says_how_much_of_the_pool_and_how_full() -> None:
    pool = Pool(
        paged=PoolLimits(10_000_000, 10_204_081, 0.98),
        tags=(
            use("IoSe", "paged", 20_000, 0, 3_100_000),
            use("Pp  ", "paged", 40_000, 0, 4_000_000),
        ),
    )
    summary = verdict(XP_SP3, pool, ring()).verdict.summary
    assert summary == "IoSe and 'Pp  ' hold 71 % of paged pool, paged pool is 98 % full"


def test_advice_names_the_exact_file_prerequisite_and_restart() -> None:
    advice = verdict(XP_SP3, *LEAK).verdict.advice
    for part in ("KB950162", "Ntkrnlpa.exe", "5.1.2600.5586", "2,066,048", "23-Apr-2008", "SP3", "restart"):
        assert part in advice


def test_advice_names_the_packages_on_vista() -> None:
    vista = KernelInfo("t", "Windows Vista", "6.0.6001.18000", 1, "x64", build=6001)
    advice = verdict(vista, *LEAK).verdict.advice
    assert "Package_for_kb950162_client~31bf3856ad364e35~amd64~~6.0.1.0.mum" in advice
    assert "_server" not in advice and ".manifest" not in advice


def test_advice_for_service_pack_1_is_a_service_pack_first() -> None:
    assert "Service Pack 3" in verdict(XP_SP1, *LEAK).verdict.advice


def test_unknown_fix_state_is_said() -> None:
    assert "unknown" in verdict(XP_UNSURE, *LEAK).verdict.summary
    assert "5.1.2600.5586" in verdict(XP_UNSURE, *LEAK).verdict.advice


def test_another_tag_is_named_in_summary_and_advice() -> None:
    pool = machine_pool(extra=(use("MfeL", "paged", 21_449, 449, 11_088_000),))
    result = verdict(XP_SP3, pool, ring(total=21_000))
    assert result.verdict.code == "does-not-exhibit"
    assert "MfeL" in result.verdict.summary and "MfeL" in result.verdict.advice
    first = result.suspects[0]
    assert (first.tag, first.pool, first.bytes) == ("MfeL", "paged", 11_088_000)
    assert first.share == pytest.approx(11_088_000 / (pool.paged.used_bytes or 0))
    assert "1 for each driver unload" in first.text


def test_a_nonpaged_leak_is_found_too() -> None:
    pool = machine_pool(extra=(use("Irpx", "nonpaged", 9000, 10, 2_000_000),))
    suspects = verdict(XP_SP3, pool, QUIET).suspects
    assert [(s.tag, s.pool) for s in suspects] == [("Irpx", "nonpaged")]


def test_one_of_the_two_tags_leaking_alone_is_a_suspect() -> None:
    result = verdict(XP_SP3, machine_pool(0, 40_000), ring())
    assert result.verdict.code == "does-not-exhibit"
    assert [s.tag for s in result.suspects] == ["Pp  "]


def test_the_leak_itself_is_no_suspect_but_a_second_leak_is() -> None:
    pool = machine_pool(20_000, 40_000, extra=(use("MfeL", "paged", 21_449, 449, 11_088_000),))
    assert [s.tag for s in verdict(XP_SP3, pool, ring()).suspects] == ["MfeL"]


def test_known_large_tags_are_no_suspects_until_they_are_out_of_proportion() -> None:
    assert find_suspects(machine_pool(), QUIET) == ()
    pool = machine_pool(extra=(use("MmSt", "paged", 90_000, 80_000, 30_000_000),))
    assert [s.tag for s in find_suspects(pool, QUIET)] == ["MmSt"]


def test_every_threshold_on_suspects_has_a_rationale_and_every_tag_a_meaning() -> None:
    known = load_tags()
    assert all(t.unit and t.rationale for t in known.thresholds.values())
    for entry in known.known:
        assert len(entry.match) == 4 and entry.meaning and 0 < entry.normal < 1
    looked_up = {tag: known.lookup(tag) for tag in ("CM35", "Pp  ", "PpDe", "MmLd", "MfeL")}
    meanings = {tag: entry.match if entry else None for tag, entry in looked_up.items()}
    assert meanings == {"CM35": "CM??", "Pp  ": "Pp  ", "PpDe": "Pp??", "MmLd": "MmLd", "MfeL": None}


def test_inconclusive_says_what_is_missing_and_how_to_get_it() -> None:
    result = verdict(XP_SP3, machine_pool(source="pages", coverage=0.2), ring())
    assert result.verdict.code == "inconclusive"
    assert "20 %" in result.verdict.summary
    assert "+ptg" in result.verdict.advice and "memory dump" in result.verdict.advice


def test_a_triage_dump_is_inconclusive_and_tells_what_it_knows() -> None:
    kernel = KernelInfo("header", product="Windows 10", arch="x64", build=19041)
    image = ImageInfo("mini.dmp", "triage64", 262_144)
    drivers = Drivers(None, (Unloads("dump_storpo", 3, None, None), Unloads("a.sys", 1, None, None)), (), 4)
    result = verdict(kernel, Pool(), drivers, image)
    assert (result.fix.state, result.verdict.code) == ("out-of-scope", "inconclusive")
    assert "kernel memory dump" in result.verdict.advice and "dump_storpo 3 times" in result.verdict.advice
    nothing = verdict(kernel, Pool(), Drivers(), image)
    assert nothing.verdict.code == "inconclusive"


def test_other_signatures_are_reported_beside_the_verdict(tmp_path: Path) -> None:
    settings = Settings.load(signatures=[written(tmp_path, MINE)])
    result = judge(IMAGE, XP_SP3, Machine(), *LEAK, settings=settings)
    assert result.signature.id == "KB950162" and result.verdict.code == "exhibits"
    assert [(other.id, other.state) for other in result.other_signatures] == [("NavE-leak", "absent")]


def test_the_verdict_survives_its_document() -> None:
    for image in (LEAK, EARLY, HEALTHY, BLIND):
        result = verdict(XP_SP3, *image)
        assert from_dict(Verdict, to_dict(result)) == result


def test_in_step_but_freed_often_asks_for_a_second_image() -> None:
    pool = machine_pool(300, 600, living=(24, 116), freed=(563, 799))
    said = verdict(XP_SP3, pool, ring()).verdict
    assert said.code == "inconclusive" and "in step but freed often: compare two images" in said.summary
    assert "dumpscan compare" in said.advice


FULL = PoolLimits(12_000_000, 12_370_000, 0.97)


def test_a_full_pool_is_never_said_to_be_another_cause() -> None:
    said = verdict(XP_SP3, replace(machine_pool(), paged=FULL, tags=machine_pool().tags[4:]), QUIET).verdict
    assert "Paged pool is 97 % full and no tag explains it" in said.advice
    assert "another cause" not in said.advice and "97 % full" in said.summary


def test_large_allocations_without_a_tag_are_named_when_they_hold_much() -> None:
    quiet = replace(machine_pool(source="pages"), paged=FULL)
    large = replace(quiet, untracked={"paged": BigUse(1231, 10_219_520), "nonpaged": BigUse(22, 290_816)})
    said = verdict(XP_SP3, large, QUIET).verdict
    assert said.summary == (
        "not this leak: large allocations without a tag hold 85 % of paged pool, paged pool is 97 % full"
    )
    assert "1,231 allocations, 9.7 MB" in said.advice and "gflags /r +ptg" in said.advice


def test_a_large_overflow_slot_is_a_suspect() -> None:
    pool = replace(machine_pool(), overflow=use("Ovfl", "paged", 9000, 100, 8_000_000))
    assert [s.tag for s in verdict(XP_SP3, pool, QUIET).suspects] == ["Ovfl"]


def test_what_is_missing_is_listed_once_by_source() -> None:
    advice = verdict(XP_SP3, Pool(), Drivers()).verdict.advice
    assert advice.startswith(
        "Not in the image: the pool tracker's counters of allocations and frees; paged pool's pages; "
        "the count of driver unloads; the list of unloaded drivers. "
    )
