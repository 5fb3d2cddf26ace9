"""Attribution of whole images: the samples' driver with its exact count, and the acceptance images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import samples
from dumpscan.attribution.line import summary
from dumpscan.case import Options, open_case
from dumpscan.model import AttributionReport, Drivers, from_dict, to_dict
from dumpscan.model_attribution import Attribution, ContentGroup, NamedDriver, TagContents
from tests import acceptance
from tests.cli.run import run

SERVICES = "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\"


def write(path: Path, **options: Any) -> Path:
    machine = samples.build(scenario="leak", paged_out=0.0, **options)
    kind = "crash32-kernel" if "x86" in options["profile"] else "crash64-kernel"
    return samples.write(machine, kind, path)


@pytest.fixture(scope="module")
def leak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 cycles, one IoSe and two 'Pp  ' blocks each, nothing paged out."""
    folder = tmp_path_factory.mktemp("attribution")
    return write(folder / "leak.dmp", profile="xpsp3-x86-pae", seed=3, cycles=3000, driver="FileDisk.sys")


def test_the_driver_is_named_with_its_exact_count(leak: Path) -> None:
    report = open_case(leak).attribution()
    top = report.attribution.drivers[0]
    assert (top.name, top.tag, top.copies, top.text) == ("FileDisk.sys", "Pp  ", 3000, SERVICES + "FileDisk")
    assert top.blocks == 6000  # the second block of a cycle is ROOT\\FILEDISK\\0000
    assert report.attribution.scope == "all"
    line = report.attribution.summary or ""
    assert f"3,000 'Pp  ' blocks hold {SERVICES}FileDisk" in line
    assert f"FileDisk.sys is {top.unloads_recent} of the last" in line


def test_the_leaked_access_list_is_one_content_with_its_entries(leak: Path) -> None:
    report = open_case(leak).attribution(("IoSe",))
    [tag] = report.attribution.tags
    top = tag.groups[0]
    assert (tag.tag, tag.pool, top.kind, top.copies, top.identical, top.variants) == (
        "IoSe", "paged", "acl", 3000, 3000, 1,
    )  # fmt: skip
    assert top.size == 120  # 108 bytes of ACL, a header of 8, rounded up to 8: facts/tags.md section 1
    assert top.details[1] == "allow SYSTEM: full control"
    assert tag.blocks == tag.outstanding


def test_a_64_bit_machine_with_descriptors(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x64.dmp", profile="vista-sp1-x64", seed=4, cycles=800, driver="probe64.sys",
        iose_content="descriptor",
    )  # fmt: skip
    found = open_case(path).attribution().attribution
    iose = next(tag for tag in found.tags if tag.tag == "IoSe")
    assert (iose.groups[0].kind, iose.groups[0].copies) == ("descriptor", 800)
    assert iose.groups[0].text == "security descriptor, owner Administrators, group SYSTEM, 4 access entries"
    assert (found.drivers[0].name, found.drivers[0].copies) == ("probe64.sys", 800)


def test_a_verdict_carries_a_line_and_says_that_it_is_a_sample(leak: Path) -> None:
    verdict = open_case(leak).verdict()
    assert verdict.attribution is not None
    found = verdict.attribution
    assert (found.scope, found.pages_read) == ("sample", 64)
    assert found.drivers[0].name == "FileDisk.sys" and found.drivers[0].copies < 3000
    assert f"(in a sample: 64 of {found.pages_held:,} pool pages)" in (found.summary or "")
    printed = run("verdict", leak)
    assert "FileDisk.sys" in printed.stdout.split("\nWho\n")[1].split("\n\n")[0]


def test_without_contents_nothing_from_a_block_is_shown(leak: Path) -> None:
    found = open_case(leak, Options(contents=False)).attribution().attribution
    assert found.contents_hidden
    assert all(not (g.text or g.details or g.names) for tag in found.tags for g in tag.groups)
    assert {driver.name for driver in found.drivers} >= {"FileDisk.sys"}
    text = run("attribute", leak, "--no-contents").stdout
    assert "Registry" not in text and "Everyone" not in text and "FileDisk.sys" in text
    assert "Registry" not in run("verdict", leak, "--no-contents").stdout


def test_the_document_can_be_read_back(leak: Path) -> None:
    raw = json.loads(run("attribute", leak, "--format", "json").stdout)
    assert raw["schema"] == "dumpscan.attribution/1"
    assert list(raw["attribution"])[:4] == ["scope", "pages_read", "pages_held", "summary"]
    assert to_dict(from_dict(AttributionReport, raw)) == raw


def test_text_fits_80_columns(leak: Path) -> None:
    lines = run("attribute", leak, "--tag", "*").stdout.splitlines()
    assert lines and max(len(line) for line in lines) <= 80


# -- the line ----------------------------------------------------------------------------------------


def found(driver: NamedDriver | None = None, **tag: Any) -> Attribution:
    group = ContentGroup(
        152, tag.pop("kind", "descriptor"), tag.pop("copies", 900), 900, 1, "0xe1", "a, owner X, group Y"
    )
    tags = (TagContents("IoSe", "paged", tag.pop("blocks", 1000), 1, None, (group,)),)
    drivers = (driver,) if driver else ()
    return Attribution("all", 10, 10, None, tags, drivers)


def test_the_line_says_an_exact_number_only_while_the_ring_is_not_full() -> None:
    driver = NamedDriver("xyz.sys", "xyz", "Pp  ", 41, 41, "T", False, 41, 44)
    drivers = Drivers(44, (), (), 44)
    assert summary(found(driver), drivers) == (
        "900 of 1,000 IoSe blocks are identical copies of one security descriptor (owner X, group Y); "
        "41 'Pp  ' blocks hold T; xyz.sys was unloaded 41 times"
    )
    full = NamedDriver("xyz.sys", "xyz", "Pp  ", 41, 41, "T", False, 47, 50)
    line = summary(found(full), Drivers(9000, (), (), 50)) or ""
    assert line.endswith("xyz.sys is 47 of the last 50 unloaded drivers, 9,000 unloads since boot")


def test_small_or_few_copies_are_no_line() -> None:
    assert summary(found(copies=19, blocks=20), Drivers()) is None
    assert summary(found(copies=99), Drivers()) is None
    assert summary(found(kind="other"), Drivers()) is None


# -- acceptance images -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a01", "a02", "a04"])
def test_acceptance_images_name_the_generators_driver(name: str) -> None:
    truth = acceptance.truth(name)
    leaking = truth["expect"]["leak"]
    report = open_case(acceptance.image(name)).attribution().attribution
    blocks = {tag.tag: tag.blocks for tag in report.tags if tag.pool == "paged"}
    states = ["valid", "transition"] if name == "a02" else ["valid"]  # kernel dumps leave transition out
    small = truth["small_blocks"]["paged"]
    assert blocks == {tag: sum(small[tag][s]["allocs"] for s in states) for tag in ("IoSe", "Pp  ")}
    top = report.drivers[0]
    assert top.name == leaking["driver"]
    # Two blocks a cycle, one of them with the path; besides them at most two hundred living blocks.
    assert blocks["Pp  "] / 2 - 200 <= top.copies <= blocks["Pp  "] / 2
    iose = next(tag for tag in report.tags if tag.tag == "IoSe").groups[0]
    assert iose.kind == "descriptor" and iose.size == leaking["per_cycle"][0]["block_bytes"]
    assert blocks["IoSe"] - 40 <= iose.copies <= blocks["IoSe"]
