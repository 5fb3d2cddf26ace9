"""One self-contained HTML file: banner, sections, the document embedded, a strict policy.

The Content-Security-Policy stands in the file itself: nothing is loaded from anywhere, and only the
style sheet and the script of this package run, by their SHA-256. So text from an image that got
past the escaping would still be dead. The embedded document is a data block, never executed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from dumpscan import report
from dumpscan.report.html.svg import shown

if TYPE_CHECKING:
    from jinja2 import Environment, Template

NO_BREAK = "\xa0"


class Section(NamedTuple):
    """A part of the page under a heading. ``lead`` is a sentence below it."""

    id: str
    title: str
    body: Markup
    lead: str | Markup = ""


class Banner(NamedTuple):
    """What is readable in two seconds. ``tone`` is good, bad or unsure."""

    label: str
    word: str
    sentence: str
    tone: str
    figures: Sequence[tuple[str, str, str]] = ()
    """(label, figure, remark): the few numbers that matter."""
    plain: str = ""
    """The same for somebody who does not know the terms."""


class Embedded(NamedTuple):
    """The document behind the report, a record or its JSON, offered as a file. ``name`` is the file's."""

    document: Any
    name: str


def page(
    title: str,
    sections: Sequence[Section],
    *,
    banner: Banner | None = None,
    source: str = "",
    embedded: Embedded | None = None,
    home: tuple[str, str] | None = None,
    tool: str = "",
) -> str:
    """Return a whole HTML file. ``source`` names what was looked at; ``home`` is (link, text) of the
    overview that a page belongs to, a relative path."""
    style, script = resource("style.css"), resource("script.js")
    return template("page.html").render(
        title=title,
        sections=sections,
        banner=banner,
        source=source,
        home=home,
        tool=tool,
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        embedded=embedded,
        data=data_block(embedded.document) if embedded else None,
    )


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style sheet and script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_block(document: Any) -> Markup:
    """A record, or JSON as text, as JSON that cannot end the element it stands in."""
    from dumpscan.report import json

    text = document if isinstance(document, str) else json.line(document)
    return Markup(text.strip().replace("<", "\\u003c").replace(">", "\\u003e"))


def template(name: str) -> Template:
    """A template of this package. Whatever it prints is escaped and shown by :func:`shown`."""
    return environment().get_template(name)


@cache
def environment() -> Environment:
    """Autoescaping throughout; ``finalize`` shows control characters, so no template can forget it."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    found = Environment(
        loader=FunctionLoader(resource),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["NO_BREAK"] = Markup(NO_BREAK)
    return found


@cache
def resource(name: str) -> str:
    """Text of a file in ``templates/``; line ends as in the repository, the policy's hashes need it."""
    from importlib.resources import files

    path = files(report.__name__).joinpath("html", "templates", name)
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")
