"""The samples' leak series, five points of one boot: rates and time until full by hand.

Every cycle leaves one IoSe block of 120 bytes (108 and a header, rounded up to 8) and two 'Pp  '
blocks: the service's path with terminator and a device instance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import samples
from dumpscan.case import open_case
from dumpscan.compare.build import compare
from dumpscan.model import from_dict, to_dict
from dumpscan.model_compare import Comparison
from tests.cli.run import run

BOOT = 1211900000.0  # 2008-05-27T14:53:20Z
HOURS = (2, 5, 8, 11, 14)
CYCLES_AN_HOUR = 400


class Series(NamedTuple):
    paths: list[Path]
    truths: list[dict[str, Any]]


@pytest.fixture(scope="module")
def leak(tmp_path_factory: pytest.TempPathFactory) -> Series:
    folder = tmp_path_factory.mktemp("series")
    paths, truths = [], []
    for hour in HOURS:
        machine = samples.build(
            profile="xpsp3-x86-pae", scenario="leak", seed=5, ram_mb=64, boot_time=BOOT, uptime=hour * 3600.0,
            cycles=CYCLES_AN_HOUR * hour, driver="filedisk.sys", paged_out=0.0,
        )  # fmt: skip
        paths.append(samples.write(machine, "crash32-kernel", folder / f"h{hour:02d}.dmp"))
        truths.append(machine.truth)
    return Series(paths, truths)


def compared(leak: Series) -> Comparison:
    return compare([open_case(path).verdict() for path in reversed(leak.paths)])


def test_one_boot_in_time_order(leak: Series) -> None:
    found = compared(leak)
    assert (found.same_machine, found.same_boot, found.comparable) == (True, True, "growth")
    assert [Path(image.path).name for image in found.images] == [path.name for path in leak.paths]
    assert {image.boot_time for image in found.images} == {"2008-05-27T14:53:20Z"}
    assert (found.hours, found.unloads) == (12, 12 * CYCLES_AN_HOUR)


def test_rates_are_those_of_the_cycles(leak: Series) -> None:
    rows = {(row.tag, row.pool): row for row in compared(leak).tags}
    iose, pp = rows["IoSe", "paged"], rows["Pp  ", "paged"]
    assert iose.outstanding_per_hour == pytest.approx(CYCLES_AN_HOUR, rel=0.02)
    assert iose.bytes_per_hour == pytest.approx(CYCLES_AN_HOUR * 120, rel=0.02)
    assert pp.outstanding_per_hour == pytest.approx(2 * CYCLES_AN_HOUR, rel=0.02)
    assert (iose.outstanding_per_unload, pp.outstanding_per_unload) == (1, 2)
    assert iose.outstanding_fit is not None and iose.outstanding_fit.r2 == pytest.approx(1)
    assert {rows[key].outstanding_change for key in rows if key[0] in ("Driv", "MmSt", "File")} == {0}


def test_time_until_full_within_two_percent(leak: Series) -> None:
    paged = compared(leak).pool.paged
    pools = [truth["pools"]["paged"] for truth in leak.truths]
    used = [pool["used_fraction"] * pool["limit_bytes"] for pool in pools]
    # A straight line through first and last point, in hours from the last one.
    rate = (used[-1] - used[0]) / (HOURS[-1] - HOURS[0])
    left = (pools[-1]["limit_bytes"] - used[-1]) / rate
    assert paged.hours_left == pytest.approx(left, rel=0.02)
    full = datetime.fromisoformat((paged.full_at or "").replace("Z", "+00:00")).timestamp()
    assert full - BOOT == pytest.approx((HOURS[-1] + left) * 3600, rel=0.02)


def test_the_verdict_is_over_the_series_and_names_the_driver(leak: Series) -> None:
    found = compared(leak)
    assert (found.signature.state, found.verdict.code) == ("present", "exhibits")
    assert found.attribution is not None and found.attribution.drivers[0].name == "filedisk.sys"


def test_json_is_the_contract_and_can_be_read_back(leak: Series) -> None:
    raw = json.loads(run("compare", *leak.paths, "--format", "json").stdout)
    assert raw["schema"] == "dumpscan.compare/1"
    first = raw["images"][0]
    assert (first["system_time"], first["uptime_seconds"]) == (
        "2008-05-27T16:53:20Z",
        7200,
    )
    assert (raw["same_machine"], raw["same_boot"]) == (True, True)
    keys = {"tag", "pool", "points", "outstanding_per_hour", "bytes_per_hour", "outstanding_per_unload"}
    assert keys <= set(raw["tags"][0]) and set(raw["tags"][0]["points"][0]) == {"outstanding", "bytes"}
    assert raw["pool"]["paged"]["full_at"] and raw["pool"]["nonpaged"]["full_at"] is None
    assert set(raw["verdict"]) == {"code", "summary", "advice"} and raw["signature"]["id"] == "KB950162"
    assert to_dict(from_dict(Comparison, raw)) == raw


def test_documents_stand_for_their_images(leak: Series, tmp_path: Path) -> None:
    documents = []
    for path in leak.paths[:2]:
        documents.append(tmp_path / f"{path.name}.json")
        assert run("verdict", path, "--format", "json", "-o", documents[-1]).exit_code == 0
    from_documents = run("compare", *documents, "--format", "json").stdout
    assert from_documents == run("compare", *leak.paths[:2], "--format", "json").stdout


def test_thresholds_are_the_users(leak: Series, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[KB950162]\nseries_growth = 100000\niose_present = 1000000\n", encoding="utf-8")
    raw = json.loads(run("compare", *leak.paths[:2], "--thresholds", mine, "--format", "json").stdout)
    assert raw["signature"]["state"] == "absent"
    assert "present" not in {image["state"] for image in raw["images"]}
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[KB950162]\nno_such = 1\n", encoding="utf-8")
    assert run("compare", *leak.paths[:2], "--thresholds", wrong).exit_code == 2


def test_text_is_for_people_and_fits_80_columns(leak: Series) -> None:
    text = run("compare", *leak.paths, "--tag", "IoSe", "--tag", "Pp").stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.startswith("KB950162 · EXHIBITS · IoSe and 'Pp  ' grow by 400 and 800 blocks an hour")
    assert "machine: yes, boot: yes" in text
    assert "File" not in text.split("Growth by tag")[1].split("Evidence")[0]


@pytest.mark.parametrize(
    "broken",
    [
        lambda raw: raw["machine"].update(uptime_seconds="long"),
        lambda raw: raw["machine"].update(uptime_seconds=float("nan")),
        lambda raw: raw["machine"].update(system_time=5),
        lambda raw: raw["pool"].update(tags=7),
        lambda raw: raw["pool"]["tags"][0]["paged"].update(bytes=[1]),
    ],
)
def test_documents_of_wrong_values_are_refused(
    leak: Series, tmp_path: Path, broken: Callable[[dict[str, Any]], None]
) -> None:
    raw = to_dict(open_case(leak.paths[0]).verdict())
    broken(raw)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    refused = run("compare", path, leak.paths[1])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no verdict document" in refused.stderr


def test_nesting_without_end_is_refused(leak: Series, tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('{"schema": ' + "[" * 200_000, encoding="utf-8")
    assert run("compare", path, leak.paths[1]).exit_code == 2


def test_errors_are_one_line(leak: Series, tmp_path: Path) -> None:
    alone = run("compare", leak.paths[0])
    assert (alone.exit_code, alone.stdout) == (2, "")
    other = tmp_path / "other.json"
    other.write_text('{"schema": "something/1"}', encoding="utf-8")
    wrong = run("compare", leak.paths[0], other)
    assert wrong.exit_code == 2 and "needed is 'dumpscan.verdict/1'" in wrong.stderr
    missing = run("compare", leak.paths[0], tmp_path / "missing.dmp")
    assert missing.exit_code == 3
