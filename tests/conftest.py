"""One browser for all tests that look at reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.report.browser import Browser, start


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = start()
    yield found
    found.close()
