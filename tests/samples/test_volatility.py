"""volatility3 with the real symbols accepts the XP SP3 PAE sample.

The symbols are copied first: on a cache miss volatility3 opens the symbol file for writing and removes it
when the download fails, whatever the folder's mode says to an administrator.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samples import build, write

SYMBOLS = Path(__file__).parents[2].parent / "shared" / "symbols"
_ISF = "windows/ntkrnlpa.pdb/30B5FB31AE7E4ACAABA750AA241FF331-1.json.xz"

_VOL = "import sys; sys.argv[0] = 'vol'; from volatility3.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("volatility3", reason="volatility3 is not installed")
    if not (SYMBOLS / _ISF).exists():
        pytest.skip(f"the symbols of ntkrnlpa 5.1.2600.5512 are not at {SYMBOLS / _ISF}")
    folder = tmp_path_factory.mktemp("symbols")
    (folder / _ISF).parent.mkdir(parents=True)
    shutil.copyfile(SYMBOLS / _ISF, folder / _ISF)
    return folder


def _run(symbols: Path, image: Path, plugin: str) -> str:
    command = [
        sys.executable, "-c", _VOL, "-q",
        "--offline", "--cache-path", str(symbols / "cache"), "-s", str(symbols), "-f", str(image), plugin,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("container", ["crash32-full", "raw"])
def test_volatility_reads_the_sample(container: str, symbols: Path, tmp_path: Path) -> None:
    made = build("xpsp3-x86-pae", seed=21, ram_mb=48, cycles=1000)
    image = write(made, container, tmp_path / "sample.img")
    (symbols / "cache").mkdir(exist_ok=True)
    info = _run(symbols, image, "windows.info")
    assert "0x80545ae0" in info and "2600.xpsp.080413-2111" in info and "2008-05-28 12:00:00" in info
    modules = _run(symbols, image, "windows.modules")
    for module in made.truth["modules"]:
        assert f"{module['base']}\t{module['size']:#x}\t{module['name']}" in modules
    big = _run(symbols, image, "windows.bigpools")
    for entry in made.truth["big_table"]["entries"]:
        assert entry["va"] in big
