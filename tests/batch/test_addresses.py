"""Batches over images on servers: single addresses, containers, folders of an object store."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dumpscan.batch.addresses import Remote, is_listing, is_url, listing, printable
from dumpscan.errors import UnreadableFile
from tests.batch.archive import ABSENT, EXHIBITS, Archive, Expected
from tests.batch.batches import batch, environment, outcomes, rows
from tests.image.servers import range_server


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://b/k", True), ("https://h/p", True), (r"C:\dumps\a.dmp", False), ("a/b://c", False)],
)
def test_urls(text: str, expected: bool) -> None:
    assert is_url(text) is expected


def test_an_address_is_written_down_without_its_secrets() -> None:
    assert printable("s3://bucket/a b.dmp") == "s3://bucket/a b.dmp"
    signed = printable("https://me:word@host:8443/dumps/a.dmp?X-Signature=deadbeef&t=1")
    place, _, mark = signed.partition("?")
    assert place == "https://host:8443/dumps/a.dmp"
    assert len(mark) == 12 and set(mark) <= set("0123456789abcdef")
    assert signed == printable("https://host:8443/dumps/a.dmp?X-Signature=deadbeef&t=1")
    assert signed != printable("https://host:8443/dumps/a.dmp?X-Signature=deadbeef&t=2")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/folder/", True),
        ("s3://bucket/2024-*/MEMORY.DMP", True),
        ("s3://bucket/a.dmp", False),
        ("https://host/folder/", False),
        ("https://host/a.dmp?x=1", False),
    ],
)
def test_what_stands_for_several_files(url: str, expected: bool) -> None:
    assert is_listing(url) is expected


def test_a_folder_and_a_glob_of_an_object_store() -> None:
    fsspec = pytest.importorskip("fsspec", reason="dumpscan[remote] is not installed")
    fs = fsspec.filesystem("memory")
    for name, size in {"in/b.dmp": 2, "in/a.dmp": 1, "in/deep/c.dmp": 3, "out.dmp": 0}.items():
        fs.pipe_file(f"/list/{name}", bytes(size))
    try:
        below = list(listing("memory://list/in/"))
        assert below == [
            Remote("memory:///list/in/a.dmp", 1, None),
            Remote("memory:///list/in/b.dmp", 2, None),
            Remote("memory:///list/in/deep/c.dmp", 3, None),
        ]
        assert list(listing("memory://list/in/*.dmp")) == below[:2]
        with pytest.raises(UnreadableFile, match="memory://list/none/: holds no file"):
            list(listing("memory://list/none/"))
    finally:
        fs.rm("/list", recursive=True)
    with pytest.raises(UnreadableFile, match="nosuchkind://x/: cannot be listed"):
        list(listing("nosuchkind://x/"))


def test_a_batch_over_http(archive: Archive, tmp_path: Path) -> None:
    """Dumps in place and inside a container, what is missing, what is no image; and again."""
    pytest.importorskip("aiohttp", reason="dumpscan[remote] is not installed")
    leak, packed = archive.dump("leak.dmp"), archive.root / "packed.gz"
    packed.write_bytes(gzip.compress(archive.dump_bytes("healthy", "gz"), 1))
    (archive.root / "notes.txt").write_text("leaks since Monday\n")
    env, store, listed = environment(tmp_path / "scratch"), tmp_path / "s.sqlite", tmp_path / "list.txt"
    with range_server(archive.root) as server:
        urls = [server.url("good", name) for name in (leak.name, packed.name, "notes.txt", "gone.dmp")]
        listed.write_text("\n".join([*urls[1:], urls[0] + "?secret=1"]))
        run = batch(f"@{listed}", urls[0], "--store", store, "--workers", "2", env=env)
        assert run.returncode == 1, run.stderr
        signed = printable(urls[0] + "?secret=1")
        expected = {
            urls[0]: EXHIBITS,
            signed: EXHIBITS,
            urls[1]: Expected("skipped"),
            f"{urls[1]}!packed": ABSENT,
            urls[2]: Expected("skipped"),
            urls[3]: Expected("error"),
        }
        assert outcomes(store) == expected
        asked = sum(server.seen.values())
        assert batch(f"@{listed}", urls[0], "--store", store, env=env).returncode == 1
        assert sum(server.seen.values()) == asked
    [(reason,)] = rows(store, "SELECT reason FROM images WHERE path = ?", urls[3])
    assert "no such file (status 404)" in reason
    text = b"".join(path.read_bytes() for path in tmp_path.glob("s.sqlite*"))
    assert b"good/leak.dmp" in text and b"secret" not in text
    assert list((tmp_path / "scratch").iterdir()) == []
