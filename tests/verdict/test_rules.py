"""Signature and threshold files: what a user may write, and the one-line refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dumpscan.errors import UnreadableFile, UsageError
from dumpscan.model import Drivers
from dumpscan.verdict.rules import MEASURES, builtin_signature, load_signature
from dumpscan.verdict.settings import Settings
from dumpscan.verdict.signature import evaluate
from tests.verdict.machines import machine_pool, ring, use

MINE = """
id = "NavE-leak"
title = "the antivirus filter loses its contexts"
tags = ["NavE"]

[thresholds.many]
value = 10000
unit = "outstanding allocations"
rationale = "a healthy machine holds fifty"

[thresholds.full]
value = 0.8
unit = "share of the limit"
rationale = "the machine hangs from there on"

[[conditions]]
id = "nave"
measure = "outstanding"
tag = "NavE"
pool = "paged"
at_least = "many"

[[conditions]]
id = "full"
measure = "fullness"
pool = "nonpaged"
at_least = "full"
role = "corroborates"

[[states]]
name = "present"
all = ["nave", { not = "full" }]
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_threshold_of_the_builtin_signature_has_unit_and_rationale_and_is_used() -> None:
    signature = builtin_signature()
    used = {signature.minimum_coverage}
    assert signature.series is not None
    for condition in (*signature.conditions, *signature.series.conditions):
        used |= {condition.at_least, condition.at_most, condition.baseline, condition.tolerance}
    assert set(signature.thresholds) == used - {None}
    for threshold in signature.thresholds.values():
        assert threshold.unit and len(threshold.rationale) > 20
    assert signature.tags == ("IoSe", "Pp  ")


def test_a_users_signature_is_evaluated_like_the_builtin_one(tmp_path: Path) -> None:
    mine = load_signature(written(tmp_path, MINE))
    leaking = machine_pool(extra=(use("NavE", "paged", 20_100, 100, 8_000_000),))
    # two rows of one tag never come from a reader; take the background's away
    leaking = type(leaking)(
        tags=tuple(row for row in leaking.tags if row.tag != "NavE" or row.paged.outstanding == 20_000),
        paged=leaking.paged,
        nonpaged=leaking.nonpaged,
    )
    assert evaluate(mine, leaking, Drivers()).state == "present"
    assert evaluate(mine, machine_pool(), Drivers()).state == "absent"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "NavE-leak"', "", "'id' is missing"),
        ('id = "NavE-leak"', 'id = "x"\nthreshold = 3', "unknown key 'threshold'"),
        ('tags = ["NavE"]', 'tags = ["Nav"]', "'Nav' is no tag of four characters"),
        ("value = 10000", 'value = "many"', "'value' must be a number"),
        ("value = 10000", "value = nan", "'value' must be a number"),
        ("value = 10000", "value = -1", "must not be negative"),
        ('rationale = "a healthy machine holds fifty"', "", "'rationale' is missing"),
        ('at_least = "many"', 'at_least = "mny"', "names the threshold 'mny', which is not defined"),
        ('at_least = "many"', "", "needs either at_least or at_most"),
        ('measure = "outstanding"', 'measure = "outstandig"', "measure 'outstandig' is not one of"),
        ('tag = "NavE"\npool', "pool", "needs tags"),
        ('pool = "paged"', 'pool = "session"', "pool 'session' is not one of"),
        ('"nave", {', '"navy", {', "names the condition 'navy', which is not defined"),
        ('name = "present"', 'name = "perhaps"', "'perhaps' is not one of present, early, unknown"),
        ('{ not = "full" }', "{ nor = 'full' }", "expected a condition's id"),
        ('all = ["nave", { not = "full" }]', "all = []", "'all' is empty"),
        ('all = ["nave", { not = "full" }]', "", "expected a condition's id"),
        ('id = "full"', 'id = "nave"', "'nave' is used twice"),
        ('id = "NavE-leak"', 'id = "NavE-leak', "not a TOML file"),
    ],
)
def test_a_broken_signature_is_refused_in_one_line_that_names_file_and_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in MINE
    path = written(tmp_path, MINE.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_signature(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    tree = "{ not = " * 40 + '"nave"' + " }" * 40
    with pytest.raises(UsageError, match="nested"):
        load_signature(written(tmp_path, MINE.replace('{ not = "full" }', tree)))


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"none\.toml"):
        load_signature(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a TOML file"):
        load_signature(tmp_path / "binary.toml")


def test_thresholds_are_replaced_and_printed_with_the_result(tmp_path: Path) -> None:
    path = written(tmp_path, "[KB950162]\niose_present = 20\npp_present = 100\n[suspects]\nleast_bytes = 5\n")
    settings = Settings.load(path)
    result = evaluate(settings.chosen()[0], machine_pool(), ring())
    assert result.state == "present"
    assert {e.id: e.threshold for e in result.evidence}["iose-outstanding"] == 20
    assert settings.suspects == {"least_bytes": 5}
    assert builtin_signature().value("iose_present") == 500  # nothing leaks into the next image


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[KB950162]\niose_presnt = 3\n", "unknown key 'iose_presnt'"),
        ("[KB950163]\niose_present = 3\n", "unknown key 'KB950163'"),
        ("iose_present = 3\n", "unknown key 'iose_present'"),
        ("KB950162 = 3\n", "must be a table"),
        ("[KB950162]\niose_present = true\n", "must be a number"),
        ("[suspects]\nleast = 3\n", "unknown key 'least'"),
        ("[suspects]\nleast_bytes = 'x'\n", "must be a number"),
    ],
)
def test_unknown_or_wrong_thresholds_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.load(written(tmp_path, text))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_two_signatures_of_one_name_are_refused(tmp_path: Path) -> None:
    clash: Any = written(tmp_path, MINE.replace("NavE-leak", "KB950162"))
    with pytest.raises(UsageError, match="KB950162"):
        Settings.load(signatures=[clash])


def test_the_documented_signature_loads_and_every_measure_is_documented(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "signatures.md").read_text(encoding="utf-8")
    blocks = [part.split("```", 1)[0] for part in text.split("```toml\n")[1:]]
    Settings.load(written(tmp_path, blocks[0], "thresholds.toml"))
    assert load_signature(written(tmp_path, blocks[1])).id == "NavE-leak"
    for measure in MEASURES:
        assert f"| `{measure}` |" in text
