"""dumpscan: post-mortem of Windows kernel pool leaks (KB950162 and others).

Two lines are enough::

    import dumpscan
    print(dumpscan.open("hung-01.dmp").verdict().verdict.summary)

:func:`open` returns a :class:`dumpscan.case.Case`; ``verdict()`` gives the frozen result document
(:class:`dumpscan.model.Verdict`) and ``census()`` the pool figures by tag. Every error raised on
purpose derives from :class:`dumpscan.errors.DumpscanError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from dumpscan.case import Case

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(path: str | PathLike[str]) -> Case:  # noqa: A001 - the library's own verb, as in gzip.open
    """Open a memory image and return a case that answers questions about it.

    :raises dumpscan.errors.ImageError: the file is missing, no image, unsupported or damaged.
    """
    from dumpscan.case import open_case

    return open_case(path)
