"""The verdict on KB950162 inside volatility3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from volatility3.framework import interfaces, renderers
from volatility3.framework.configuration import requirements

from .face import case_of, known, layer_option

if TYPE_CHECKING:
    from dumpscan.model import SignatureResult, Verdict

Row = tuple[int, tuple[Any, ...]]

_COLUMNS = ("Item", "Name", "State", "Value", "Threshold", "Text", "Where")


class KB950162(interfaces.plugins.PluginInterface):  # type: ignore[misc]
    """Does this machine's pool exhibit the leak of Microsoft's article 950162 (tags IoSe and 'Pp  ')?

    The first row is the verdict; below it stand the fix state of the kernel, the signature with each
    piece of evidence, and other tags that hold much of their pool. No symbol table is needed.
    """

    _required_framework_version = (2, 0, 0)
    _version = (1, 0, 0)

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """A translation layer, and how the pool is counted."""
        return [
            layer_option(),
            requirements.ChoiceRequirement(
                name="census",
                choices=["auto", "tables", "pages", "sample"],
                description="Pool figures from the kernel's tables, from the pool pages, or as needed",
                default="auto",
                optional=True,
            ),
        ]

    def run(self) -> renderers.TreeGrid:
        """The verdict and what it rests on, evidence as children of its signature."""
        with case_of(self) as case:
            from dumpscan.records import replace

            case.options = replace(case.options, census=self.config.get("census") or "auto")
            verdict = case.verdict()
        return renderers.TreeGrid([(name, str) for name in _COLUMNS], _rows(verdict))


def _row(depth: int, *cells: Any) -> Row:
    padded = (*cells, *[None] * (len(_COLUMNS) - len(cells)))
    return depth, tuple(known(cell if cell != "" else None, str) for cell in padded)


def _rows(verdict: Verdict) -> Iterator[Row]:
    judged = verdict.verdict
    yield _row(0, "verdict", verdict.signature.id, judged.code, None, None, judged.summary)
    yield _row(0, "advice", None, None, None, None, judged.advice)
    kernel, fix = verdict.kernel, verdict.fix
    built = (kernel.version, None, kernel.build_lab, kernel.base)
    yield _row(0, "kernel", kernel.product, kernel.branch, *built)
    yield _row(0, "fix", fix.hotfix, fix.state, kernel.version, fix.fixed_version, fix.reason)
    for name in ("paged", "nonpaged"):
        limits = getattr(verdict.pool, name)
        yield _row(0, "pool", name, None, limits.used_bytes, limits.limit_bytes, "bytes used, limit")
    for signature in (verdict.signature, *verdict.other_signatures):
        yield from _signature(signature)
    for suspect in verdict.suspects:
        yield _row(0, "suspect", suspect.tag, suspect.pool, suspect.bytes, None, suspect.text)
    for note in (*verdict.image.notes, *kernel.notes, *verdict.pool.notes):
        yield _row(0, "note", None, None, None, None, note)


def _signature(signature: SignatureResult) -> Iterator[Row]:
    yield _row(0, "signature", signature.id, signature.state, None, None, signature.title)
    for found in signature.evidence:
        yield _row(
            1, "evidence", found.id, found.outcome, found.value, found.threshold, found.text, found.where
        )
