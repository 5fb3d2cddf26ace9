"""Remote images on S3: a stand-in (moto's server) on loopback, and fsspec's own memory file system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dumpscan.case import open_case
from dumpscan.errors import DamagedImage, NotAnImage, UnreadableFile
from dumpscan.image.recognise import open_image
from samples import build, write
from tests.batch.archive import Expected
from tests.batch.batches import batch, environment, outcomes, rows
from tests.image.servers import free_port, wait_for
from tests.image.writers import header32, page

SMALL = header32(runs=[(0x10, 64)]) + b"".join(page(0x10 + i) for i in range(64))


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel dump of a leaking machine."""
    path = tmp_path_factory.mktemp("s3") / "leak.dmp"
    write(build(profile="xpsp3-x86-pae", scenario="leak", seed=4, ram_mb=128), "crash32-full", path)
    return path


@pytest.fixture(scope="module")
def s3(dump: Path) -> Iterator[object]:
    """A file system over moto's server; the bucket ``dumps`` holds leak.dmp, small.dmp and empty.dmp."""
    for module in ("moto", "flask", "s3fs"):
        pytest.importorskip(module, reason=f"{module} is not installed (requirements-dev.lock)")
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "from moto.server import main; main()",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "NO_PROXY": "*",
        }.items():
            patch.setenv(name, value)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                wait_for(f"http://127.0.0.1:{port}", server)
                yield _filled(dump)
            finally:
                server.terminate()
                server.wait(10)


def _filled(dump: Path) -> object:
    import fsspec

    fs = fsspec.filesystem("s3")
    fs.mkdir("dumps")
    fs.put_file(str(dump), "dumps/leak.dmp")
    fs.pipe_file("dumps/small.dmp", SMALL)
    fs.pipe_file("dumps/empty.dmp", b"")
    return fs


def test_a_verdict_over_s3_is_the_local_one_and_fetches_little(s3: object, dump: Path) -> None:
    case = open_case("s3://dumps/leak.dmp")
    remote, local = case.verdict(), open_case(dump).verdict()
    assert (remote.verdict, remote.pool, remote.kernel) == (local.verdict, local.pool, local.kernel)
    assert remote.image.path == "s3://dumps/leak.dmp"
    traffic = case.opened.traffic
    case.opened.close()
    assert traffic is not None and traffic.size == dump.stat().st_size
    assert 10_000 < traffic.bytes < 2_500_000 and 5 < traffic.requests < 100


def test_a_batch_over_a_folder_of_a_bucket(s3: object, tmp_path: Path) -> None:
    env, store = environment(tmp_path / "scratch"), tmp_path / "s.sqlite"
    run = batch("s3://dumps/", "--store", store, env=env)
    assert run.returncode == 1, run.stderr
    assert outcomes(store) == {
        "s3://dumps/leak.dmp": Expected("ok", "exhibits"),
        "s3://dumps/small.dmp": Expected("damaged"),
        "s3://dumps/empty.dmp": Expected("skipped"),
    }
    # Sizes and times come with the listing: what was not changed is not analysed again.
    attempts = "SELECT path, attempts FROM images WHERE size IS NOT NULL AND mtime_ns IS NOT NULL ORDER BY 1"
    s3.pipe_file("dumps/small.dmp", SMALL + SMALL)  # type: ignore[attr-defined]
    assert batch("s3://dumps/*.dmp", "--store", store, env=env).returncode == 1
    assert rows(store, attempts) == [
        ("s3://dumps/empty.dmp", 1),
        ("s3://dumps/leak.dmp", 1),
        ("s3://dumps/small.dmp", 2),
    ]
    s3.pipe_file("dumps/small.dmp", SMALL)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("s3://dumps/absent.dmp", UnreadableFile, "s3://dumps/absent.dmp: no such file"),
        ("s3://nobucket/x.dmp", UnreadableFile, "s3://nobucket/x.dmp: no such file"),
        ("s3://dumps", UnreadableFile, "s3://dumps: is a directory"),
        ("s3://dumps/empty.dmp", NotAnImage, "s3://dumps/empty.dmp: the file is empty"),
    ],
)
def test_errors_of_s3(s3: object, url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_image(url)


def test_an_object_that_is_replaced_underfoot_is_damaged(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_image("s3://dumps/small.dmp")
    assert opened.memory is not None and opened.memory.read(0x10000, 4) == b"\x10\0\0\0"
    other = bytes(reversed(SMALL))
    s3.pipe_file("dumps/small.dmp", other)  # type: ignore[attr-defined]
    with pytest.raises(DamagedImage, match="changed while it was read"):
        opened.memory.pages(np.arange(0x10, 0x50))
    opened.close()


def test_any_other_file_system_of_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec", reason="dumpscan[remote] is not installed")
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/folder/small.dmp", SMALL)
    opened = open_image("memory://folder/small.dmp")
    assert opened.memory is not None
    pfns = np.array([0x4F, 0x10, 0x30, 0x60])
    rows, present = opened.memory.pages(pfns)
    assert present.tolist() == [True, True, True, False]
    assert rows[:3].tobytes() == page(0x4F) + page(0x10) + page(0x30)
    opened.close()
    fs.rm("/folder", recursive=True)
    with pytest.raises(UnreadableFile, match="no such file"):
        open_image("memory://folder/small.dmp")
