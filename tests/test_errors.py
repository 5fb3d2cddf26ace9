"""The tree drawn in the docstring of dumpscan.errors is the tree of its classes."""

from __future__ import annotations

import re

import pytest

from dumpscan import errors
from dumpscan.errors import AbsentMemory, DumpscanError, ExitCode

_ENTRY = re.compile(r"^ {4}([│├└─ ]*)(\w+) +(\d+)?(?: .*)?$")


def drawn() -> dict[str, tuple[str, int | None]]:
    """Class name to (name of its base, exit code if one stands beside it), as drawn."""
    found: dict[str, tuple[str, int | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        entry = _ENTRY.match(line + " ")
        if entry is None or not (entry[1] or not path):
            continue
        depth = len(entry[1]) // 4
        path[depth:] = [entry[2]]
        found[entry[2]] = (path[depth - 1] if depth else "Exception", int(entry[3]) if entry[3] else None)
    return found


def classes() -> dict[str, type[DumpscanError]]:
    def below(base: type[DumpscanError]) -> list[type[DumpscanError]]:
        return [base, *(each for child in base.__subclasses__() for each in below(child))]

    return {each.__name__: each for each in below(DumpscanError) if each.__module__ == errors.__name__}


def test_the_drawn_tree_names_every_class_under_its_base() -> None:
    assert {name: base for name, (base, _) in drawn().items()} == {
        name: cls.__bases__[0].__name__ for name, cls in classes().items()
    }


def test_the_drawn_exit_codes_are_those_of_the_classes() -> None:
    codes = {name: code for name, (_, code) in drawn().items() if code is not None}
    assert len(codes) == 9
    assert codes == {name: int(classes()[name].exit_code) for name in codes}


def test_exit_codes_are_the_contract() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "UNREADABLE": 3,
        "NOT_AN_IMAGE": 4,
        "UNSUPPORTED": 5,
        "DAMAGED": 6,
        "EXHIBITS": 10,
        "UNEXPECTED": 11,
        "INCONCLUSIVE": 12,
        "INTERNAL": 70,
    }


@pytest.mark.parametrize(
    ("physical", "why", "expected"),
    [
        (True, "", "physical address 0x1000 is not in the image"),
        (False, "paged out", "virtual address 0x1000 is not in the image (paged out)"),
    ],
)
def test_absent_memory_says_which_address(physical: bool, why: str, expected: str) -> None:
    assert str(AbsentMemory(0x1000, physical=physical, why=why)) == expected
