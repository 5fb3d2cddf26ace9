"""What scripts and people rely on is documented: commands, options, exit codes, keys."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

from dumpscan import __version__, model, model_attribution, model_compare, model_pictures
from dumpscan.cli import guard
from dumpscan.cli.main import COMMANDS, cli
from dumpscan.errors import ExitCode
from dumpscan.records import fields
from tests import update_readme

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options(name: str) -> list[click.Option]:
    return [param for param in command(name).params if isinstance(param, click.Option)]


def section(document: str, heading: str) -> str:
    """Text from a heading to the next one of its level."""
    level = heading.split(" ")[0]
    text = (DOCS / document).read_text(encoding="utf-8")
    assert f"\n{heading}\n" in text, f"{document} has no '{heading}'"
    return re.split(rf"\n{level} ", text.split(f"\n{heading}\n")[1])[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_in_the_readme(name: str) -> None:
    assert section("commands.md", f"## {name}").strip()
    assert f"dumpscan {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    shared = section("commands.md", "## Options that the commands on an image share")
    text = section("commands.md", f"## {name}") + shared
    missing = [opt for option in options(name) for opt in option.opts if f"`{opt}" not in text]
    assert not missing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_documented_option_exists(name: str) -> None:
    known = {opt for option in options(name) for opt in option.opts}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section("commands.md", f"## {name}")))
    assert mentioned <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_value_of_a_choice_is_documented(name: str) -> None:
    text = section("commands.md", f"## {name}")
    for option in options(name):
        if isinstance(option.type, click.Choice):
            for value in option.type.choices:
                assert re.search(rf"\b{value}\b", text), f"{name} {option.opts[0]} {value}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_exist(name: str) -> None:
    assert command(name).help
    assert COMMANDS[name]
    assert all(option.help for option in options(name) if option.name != "form")


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_documented(code: ExitCode) -> None:
    text = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {code.value} \| `{code.name}` \| \S", text, re.MULTILINE)
    assert re.search(rf"\b{code.value}\b", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_shells_codes_are_documented() -> None:
    text = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    assert f"{guard.INTERRUPTED} after Ctrl-C" in text
    assert f"{guard.BROKEN_PIPE} when" in text


_HEADINGS = {
    "Verdict": f"## {model.VERDICT_SCHEMA}",
    "Pools": f"## {model.POOLS_SCHEMA}",
    "Info": f"## {model.INFO_SCHEMA}",
    "AttributionReport": f"## {model.ATTRIBUTION_SCHEMA}",
    "Comparison": f"## {model_compare.COMPARE_SCHEMA}",
}
_MODULES = (model, model_attribution, model_compare, model_pictures)
_RECORDS = sorted(
    {
        cls
        for module in _MODULES
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if hasattr(cls, "__record_fields__")
    },
    key=lambda cls: cls.__name__,
)


def test_the_records_were_found() -> None:
    assert {"Verdict", "PoolUse", "Header"} <= {record.__name__ for record in _RECORDS}


@pytest.mark.parametrize("record", _RECORDS, ids=lambda cls: cls.__name__)
def test_every_key_of_every_document_is_documented(record: type) -> None:
    name = record.__name__
    keys = re.findall(
        r"`([a-z0-9_]+)`", "".join(re.findall(r"^\| (`.*?) \|", _section_of(name), re.MULTILINE))
    )
    assert sorted(keys) == sorted(fields(record))


def _section_of(name: str) -> str:
    return section("result-document.md", _HEADINGS.get(name, f"### {name}"))


def test_the_output_in_the_readme_is_real(tmp_path: Path) -> None:
    assert update_readme.shown() == update_readme.real(tmp_path), "run python -m tests.update_readme"


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
            aim = path.parent / target if target else path
            if not aim.exists():
                broken.append(f"{path.name}: {target}")
            elif anchor and anchor not in _anchors(aim):
                broken.append(f"{path.name}: #{anchor}")
    assert not broken


def _anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_changelog_knows_this_version() -> None:
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
