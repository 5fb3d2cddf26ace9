"""The version of the rules that verdicts are made by: a hash over every data file that takes part.

Signatures, tables of fixes and knowledge of tags are data; a release, or a user's own files, may
change them without a word in the version of the program.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dumpscan.batch.job import Analysis
from dumpscan.errors import UnreadableFile


def rules_version(analysis: Analysis) -> str:
    """Twelve hexadecimal digits; the same for the same files and the same way of analysis.

    :raises UnreadableFile: a file of the user cannot be read. :raises UsageError: it is wrong.
    """
    from dumpscan.verdict import data
    from dumpscan.verdict.settings import Settings

    Settings.load(analysis.thresholds, analysis.signatures)  # Wrong files are refused before any work.
    own = [analysis.thresholds] if analysis.thresholds else []
    paths = [*sorted(data.HERE.rglob("*.toml")), *map(Path, (*own, *analysis.signatures))]
    digest = hashlib.blake2b(analysis.census.encode(), digest_size=6)
    for path in paths:
        try:
            digest.update(hashlib.blake2b(path.read_bytes()).digest())
        except OSError as error:
            raise UnreadableFile(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()
