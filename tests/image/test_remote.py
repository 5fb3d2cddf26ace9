"""Remote images over http: what is fetched, what is refused, what happens when the server misbehaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dumpscan.case import open_case
from dumpscan.errors import (
    DamagedImage,
    DumpscanError,
    NotAnImage,
    UnreadableFile,
    UnsupportedImage,
)
from dumpscan.image.recognise import open_image
from dumpscan.image.remote import FetchedBytes, Traffic, location
from dumpscan.image.source import is_address
from samples import build, write
from tests.image.servers import NGINX, RangeServer, nginx, range_server
from tests.image.writers import header32, page, regions, vmware_state

ROOT = Path(__file__).parents[2]
SIZE = 2 << 30
MOST_SHARE = 0.005


class Local:
    """A fetcher over bytes that remembers what it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[list[tuple[int, int]]] = []
        self.traffic = Traffic()
        self.traffic.size = len(data)

    def fetch(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        self.asked.append(ranges)
        return [self.data[start:end] for start, end in ranges]

    def close(self) -> None:
        self.asked.clear()


DATA = bytes(np.random.default_rng(3).integers(0, 256, 10_000, np.uint8))


def test_blocks_that_are_missing_side_by_side_come_with_one_request() -> None:
    fetcher = Local(DATA)
    found = FetchedBytes(fetcher, block=1000)
    assert found[1500:3500].tobytes() == DATA[1500:3500]
    assert fetcher.asked == [[(1000, 4000)]]
    assert found[999:1001].tobytes() == DATA[999:1001]
    assert found[9999:12000].tobytes() == DATA[9999:]
    assert found[2000:2000].tobytes() == b""
    assert fetcher.asked[1:] == [[(0, 1000)], [(9000, 10000)]]


def test_a_gather_asks_once_for_all_that_it_lacks() -> None:
    fetcher = Local(DATA)
    found = FetchedBytes(fetcher, block=1000)
    found[2000:2001]
    rows = np.zeros((4, 100), np.uint8)
    found.gather(np.array([8050, 950, 2500, 5000]), rows)
    assert [bytes(row) for row in rows] == [DATA[a : a + 100] for a in (8050, 950, 2500, 5000)]
    assert fetcher.asked[1:] == [[(0, 2000), (5000, 6000), (8000, 9000)]]


def test_the_cache_keeps_what_was_used_last_and_no_more() -> None:
    fetcher = Local(DATA)
    found = FetchedBytes(fetcher, block=1000, cached=2)
    for at in (0, 1000, 0, 5000, 0, 1000):
        found[at : at + 10]
    assert fetcher.asked == [[(0, 1000)], [(1000, 2000)], [(5000, 6000)], [(1000, 2000)]]
    assert found[0:10000].tobytes() == DATA
    rows = np.zeros((100, 100), np.uint8)
    found.gather(np.arange(0, 10_000, 100), rows)
    assert rows.tobytes() == DATA


def test_a_request_has_a_longest_size() -> None:
    fetcher = Local(bytes(10 << 20))
    FetchedBytes(fetcher)[0 : 10 << 20]
    assert max(end - start for ranges in fetcher.asked for start, end in ranges) == 4 << 20


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("http://host/a.dmp", True),
        ("s3://bucket/key", True),
        ("C://dumps/a.dmp", False),
        ("a.dmp", False),
        ("file:///a.dmp", False),
        ("/odd/http://x", False),
    ],
)
def test_what_is_an_address(text: str, remote: bool) -> None:
    assert is_address(text) is remote


def test_secrets_of_an_address_are_not_shown() -> None:
    place = location("https://user:secret@host:8443/dumps/my%20dump.dmp?sig=secret#secret")
    assert str(place) == "https://host:8443/dumps/my%20dump.dmp"
    assert place.name == "my dump.dmp"


# From here on the libraries of the extra are needed.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images for the servers: ``big.dmp`` and ``big.raw`` of a machine with 2 GB (sparse), small ones."""
    made = tmp_path_factory.mktemp("served")
    pages = [(base, 2) for base in range(0x10, 0x90, 0x10)]
    small = header32(runs=pages) + b"".join(page(b + i) for b, n in pages for i in range(n))
    (made / "small.dmp").write_bytes(small)
    (made / "padded.raw").write_bytes(page(1) + bytes(1 << 20) + page(7) * 64)
    (made / "text.txt").write_bytes(b"hello " * 1000)
    (made / "empty.dmp").write_bytes(b"")
    return made


@pytest.fixture(scope="module")
def big(folder: Path) -> Path:
    """The folder, with two sparse 2 GB images of one leaking machine in it."""
    machine = build(profile="vista-sp1-x64", scenario="leak", seed=5, ram_mb=2048)
    write(machine, "crash64-full", folder / "big.dmp")
    write(machine, "raw", folder / "big.raw")
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    pytest.importorskip("fsspec", reason="dumpscan[remote] is not installed")
    pytest.importorskip("aiohttp", reason="dumpscan[remote] is not installed")
    monkeypatch.setattr("dumpscan.image.fetch._PAUSE", 0.005)
    with range_server(folder) as running:
        yield running


def read_all(url: str) -> bytes:
    """Every page of a small image, one at a time with a gather at the end."""
    opened = open_image(url)
    memory = opened.memory
    assert memory is not None
    pfns = np.array([0x10, 0x80, 0x81, 0x50], np.int64)
    rows, present = memory.pages(pfns)
    assert present.all()
    opened.close()
    assert not memory.present(pfns).any()
    return rows.tobytes()


EXPECTED = page(0x10) + page(0x80) + page(0x81) + page(0x50)


def test_pages_over_http(server: RangeServer) -> None:
    assert read_all(server.url("ok", "small.dmp?token=1")) == EXPECTED


@pytest.mark.parametrize("suffix", ["vmss", "vmsn"])
@pytest.mark.parametrize("asked", ["vmem", "state"])
def test_a_vmware_state_file_beside_its_memory(
    server: RangeServer, folder: Path, suffix: str, asked: str
) -> None:
    memory_file, state = folder / "xp.vmem", folder / f"xp.{suffix}"
    memory_file.write_bytes(b"".join(page(n) for n in range(256)))
    state.write_bytes(vmware_state(regions((0, 0, 0x80), (0x100000, 0x80, 0x80))))
    try:
        opened = open_image(server.url("ok", f"{'xp.vmem' if asked == 'vmem' else state.name}?token=1"))
    finally:
        state.unlink()
    assert opened.memory is not None
    assert opened.memory.read(0x1_0000_1000, 4096) == page(0x81)
    assert not opened.memory.present(np.array([0x80]))[0]
    assert state.name in opened.info.description and "token" not in str(opened.path)
    assert opened.traffic is not None
    # The state file's bytes are counted with the memory file's, which alone is what 'bytes' means.
    assert (opened.traffic.size, opened.info.bytes) == (1 << 20, 1 << 20)
    refused = len(b"no such file") if (asked, suffix) == ("vmem", "vmsn") else 0
    assert opened.traffic.bytes == server.sent - refused


def test_a_vmem_on_a_server_without_state_file_is_one_to_one(server: RangeServer, folder: Path) -> None:
    (folder / "alone.vmem").write_bytes(b"".join(page(n) for n in range(256)))
    opened = open_image(server.url("ok", "alone.vmem"))
    assert opened.memory is not None
    assert opened.memory.read(0x80000, 4096) == page(0x80)


@pytest.mark.parametrize("manner", ["drops", "busy", "unmarked"])
def test_a_shaky_server_is_asked_again(server: RangeServer, manner: str) -> None:
    assert read_all(server.url(manner, "small.dmp")) == EXPECTED


@pytest.mark.parametrize(
    ("manner", "name", "error", "words"),
    [
        ("ok", "absent.dmp", UnreadableFile, "absent.dmp: no such file (status 404)"),
        ("403", "small.dmp", UnreadableFile, "small.dmp: not permitted (status 403)"),
        ("500", "small.dmp", UnreadableFile, "no answer for the bytes at 0x0 after 4 tries (status 500)"),
        ("418", "small.dmp", UnreadableFile, "the server answers with status 418"),
        ("dead", "small.dmp", UnreadableFile, "after 4 tries"),
        ("shifts", "small.dmp", UnreadableFile, "another range than asked for"),
        ("ok", "text.txt", NotAnImage, "a text file"),
        ("ok", "empty.dmp", NotAnImage, "the file is empty"),
    ],
)
def test_errors_are_one_line_that_names_the_address(
    server: RangeServer, manner: str, name: str, error: type[DumpscanError], words: str
) -> None:
    with pytest.raises(error) as caught:
        open_image(server.url(manner, name))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_that_ignores_ranges_is_refused_and_not_downloaded(
    server: RangeServer, folder: Path
) -> None:
    (folder / "long.dmp").write_bytes(header32(runs=[(0, 1)]) + bytes(64 << 20))
    with pytest.raises(UnreadableFile, match="ignores range requests and would send the whole file"):
        open_image(server.url("ignores", "long.dmp"))
    assert server.sent < 32 << 20
    (folder / "long.dmp").unlink()


@pytest.mark.parametrize("manner", ["ok", "dated", "grows"])
def test_a_file_that_changes_underfoot_is_damaged(server: RangeServer, manner: str) -> None:
    opened = open_image(server.url(manner, "small.dmp"))
    assert opened.memory is not None
    server.changed = True
    with pytest.raises(DamagedImage, match=r"small\.dmp: the file changed while it was read"):
        opened.memory.read(0x70000, 4096)  # neither at the head nor at the tail of the file


def test_nobody_listens(server: RangeServer) -> None:
    url = server.url("ok", "small.dmp").replace(str(server.server_port), "1")
    with pytest.raises(UnreadableFile, match="after 4 tries"):
        open_image(url)


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("nosuch://host/a.dmp", UnreadableFile, "nosuch"),
        ("zip://a.dmp::http://host/a.zip", UnreadableFile, "an address in an address"),
    ],
)
def test_odd_addresses(server: RangeServer, url: str, error: type[DumpscanError], words: str) -> None:
    with pytest.raises(error, match=words):
        open_image(url)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UnsupportedImage, match=r"pip install 'dumpscan\[remote\]'"):
        open_image("http://127.0.0.1/a.dmp")


@pytest.mark.parametrize(
    ("name", "most_share"),
    # Nothing in a raw image says where the kernel is: it is read from its start up to the kernel.
    [("big.dmp", MOST_SHARE), ("big.raw", 0.1)],
)
def test_a_verdict_on_2_gb_fetches_less_than_half_a_percent(
    server: RangeServer, big: Path, name: str, most_share: float
) -> None:
    case = open_case(server.url("ok", name))
    remote = case.verdict()
    traffic = case.opened.traffic
    case.opened.close()
    assert traffic is not None and traffic.size == (big / name).stat().st_size >= SIZE - (1 << 20)
    assert traffic.bytes == sum(end - start for start, end in server.ranges)
    assert traffic.requests == len(server.ranges)
    assert traffic.bytes < most_share * traffic.size
    assert remote.verdict.code == "exhibits"
    local = open_case(big / name).verdict()
    assert (remote.verdict, remote.pool, remote.kernel) == (local.verdict, local.pool, local.kernel)
    assert remote.attribution is None and "does not look into blocks" in remote.image.notes[-1]


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_the_command_over_nginx(big: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="dumpscan[remote] is not installed")
    with nginx(big, tmp_path) as address:
        command = [sys.executable, "-m", "dumpscan", "verdict", "--stats", "--format", "json"]
        done = subprocess.run(
            [*command, f"{address}/big.dmp"], capture_output=True, text=True, cwd=ROOT, check=False
        )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["verdict"]["code"] == "exhibits"
    assert document["image"]["path"] == f"{address}/big.dmp"
    sizes = [int(line.split()[9]) for line in (tmp_path / "access.log").read_text().splitlines()[1:]]
    assert sum(sizes) < MOST_SHARE * SIZE
    assert f": {len(sizes)} requests, {sum(sizes):,} of {(big / 'big.dmp').stat().st_size:,} " in done.stderr


@pytest.mark.parametrize("command", ["info", "pools", "verdict"])
def test_stats_on_stderr(server: RangeServer, command: str) -> None:
    url = server.url("ok", "small.dmp")
    done = subprocess.run(
        [sys.executable, "-m", "dumpscan", command, "--stats", url],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert f"dumpscan: {url}: {len(server.ranges)} requests" in done.stderr
    assert "Traceback" not in done.stderr and "requests" not in done.stdout
