"""A headless Chromium that looks at reports: what it logged and loaded, what axe-core says of the page.

The browser is the distribution's; playwright only drives it, and axe-playwright-python carries
axe-core. Tests that ask for it are skipped, with the reason, where one of the three is absent.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_START_MS = 60_000
_AXE_MS = 60_000
_NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One browser with one page at a time. ``log`` and ``requests`` are those of the page shown."""

    def __init__(self, program: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        chromium = self._playwright.chromium
        self._browser = chromium.launch(executable_path=program, args=_ARGUMENTS, timeout=_START_MS)
        self.log: list[str] = []
        self.requests: list[str] = []

    def open(self, path: Path, width: int = 1280, height: int = 1000, *, scheme: str = "light") -> Any:
        """Show a file in a window of this width; ``scheme`` light or dark. Returns playwright's page."""
        for context in self._browser.contexts:
            context.close()
        chosen: Any = scheme
        page = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=chosen
        ).new_page()
        self.log, self.requests = [], []
        page.on("console", lambda message: self.log.append(message.text))
        page.on("pageerror", lambda error: self.log.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        return page

    def close(self) -> None:
        """End the browser."""
        self._browser.close()
        self._playwright.stop()


def too_wide(page: Any) -> bool:
    """Does the page, or anything on it that does not scroll by itself, reach beyond the window?"""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def violations(page: Any) -> list[str]:
    """What axe-core calls serious or critical, as text."""
    page.evaluate(_axe())
    found = page.evaluate(
        """limit => Promise.race([
            axe.run(document, {resultTypes: ['violations']}),
            new Promise((_, fail) => setTimeout(() => fail(new Error('axe-core did not finish')), limit)),
        ])""",
        _AXE_MS,
    )
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def _axe() -> str:
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def start() -> Browser:
    """A browser, or a skip that says what is missing."""
    for package in ("playwright", "axe_playwright_python"):
        if find_spec(package) is None:
            pytest.skip(f"needs the package {package} (requirements-dev.lock)")
    program = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    return Browser(program)
