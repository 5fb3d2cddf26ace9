"""Which files a request names."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dumpscan.batch.discover import Found, discover, read_list
from dumpscan.batch.job import Status
from dumpscan.batch.store import key_of
from dumpscan.errors import UnreadableFile, UsageError


def touch(root: Path, *names: str) -> list[str]:
    paths = []
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        paths.append(str(path))
    return paths


def paths(*requests: str | Path, exclude: tuple[str, ...] = ()) -> list[str]:
    return [found.path for found in discover([str(request) for request in requests], exclude)]


def test_a_folder_is_walked_in_order_of_names(tmp_path: Path) -> None:
    a, b, c, d = touch(tmp_path, "a.dmp", "b/1.txt", "b/c/2", "d")
    assert paths(tmp_path) == [a, d, b, c]


def test_size_and_time_come_along(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "abc")
    os.utime(path, ns=(5, 7_000_000_000))
    assert list(discover([path])) == [Found(path, 3, 7_000_000_000)]


def test_globs_and_recursive_globs(tmp_path: Path) -> None:
    a, b, _ = touch(tmp_path, "x/a.dmp", "x/y/b.dmp", "x/y/c.txt")
    assert paths(tmp_path / "*" / "*.dmp") == [a]
    assert paths(tmp_path / "**" / "*.dmp") == [a, b]


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path: Path) -> None:
    odd, _ = touch(tmp_path, "dump[1].dmp", "dump1.dmp")
    assert paths(tmp_path / "dump[1].dmp") == [odd]


def test_a_list_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = touch(tmp_path, "a b.dmp", "f/b.dmp")
    (tmp_path / "list.txt").write_text(f"# from the ticket\n{a}\n\nf\n/nowhere/gone.dmp\ns3://x/y.dmp\n")
    monkeypatch.chdir(tmp_path)
    assert list(discover(["@list.txt"]))[2:] == [
        Found("/nowhere/gone.dmp", status=Status.ERROR, reason="no such file"),
        Found("s3://x/y.dmp"),
    ]
    assert paths("@list.txt")[:2] == [a, b]


def test_a_list_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"PAGEDUMP\0\0\0")
    with pytest.raises(UsageError, match="not a list of paths"):
        read_list(str(tmp_path / "image"))
    with pytest.raises(UnreadableFile, match="the list cannot be read"):
        read_list(str(tmp_path / "missing"))


def test_a_request_that_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no such file or folder"):
        paths(tmp_path / "gone")
    with pytest.raises(UnreadableFile, match="matches no file"):
        paths(tmp_path / "*.dmp")


def test_links_lead_to_one_file_and_not_in_circles(tmp_path: Path) -> None:
    (real,) = touch(tmp_path, "real/a.dmp")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "link.dmp").symlink_to(real)
    (tmp_path / "other").symlink_to(tmp_path / "real")
    assert set(paths(tmp_path)) == {real}


def test_what_is_no_file_is_found_with_the_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        found = {os.path.basename(each.path): each for each in discover([str(tmp_path)])}
    assert found["pipe"].status is found["sock"].status is Status.SKIPPED
    assert found["nothing"].status is Status.ERROR
    assert "No such file" in found["nothing"].reason
    named = next(iter(discover([str(tmp_path / "pipe")])))
    assert named.status is Status.ERROR


def test_a_state_file_knows_its_memory_file(tmp_path: Path) -> None:
    vmem, vmss, _, alone = touch(tmp_path, "a/m.vmem", "a/m.vmss", "a/x.vmem", "b/m.vmsn")
    partners = {found.path: found.partner for found in discover([str(tmp_path)])}
    assert partners[vmss] == vmem
    assert partners[vmem] is partners[alone] is None


def test_a_state_file_on_a_server_knows_its_memory_file() -> None:
    fsspec = pytest.importorskip("fsspec", reason="dumpscan[remote] is not installed")
    fs = fsspec.filesystem("memory")
    for name in ("m.vmem", "m.vmss", "alone.vmsn"):
        fs.pipe_file(f"/vm-pairs/{name}", b"x")
    try:
        partners = {found.path: found.partner for found in discover(["memory://vm-pairs/"])}
    finally:
        fs.rm("/vm-pairs", recursive=True)
    assert partners == {
        "memory:///vm-pairs/alone.vmsn": None,
        "memory:///vm-pairs/m.vmem": None,
        "memory:///vm-pairs/m.vmss": "memory:///vm-pairs/m.vmem",
    }


def test_own_files_are_left_out(tmp_path: Path) -> None:
    a, store = touch(tmp_path, "a.dmp", "store.sqlite")
    assert paths(tmp_path, exclude=(store,)) == [a]


def test_a_link_in_a_circle_costs_only_itself(tmp_path: Path) -> None:
    real, below = touch(tmp_path, "a.dmp", "sub/b.dmp")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "sub" / "up").symlink_to("..")
    found = {each.path: each.status for each in discover([str(tmp_path)])}
    assert found == {real: None, below: None, str(tmp_path / "circle"): Status.ERROR}


def test_a_list_as_an_editor_on_windows_saves_it(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfC:\\a.dmp\r\nb.dmp\r\n")
    assert read_list(str(tmp_path / "list.txt")) == ["C:\\a.dmp", "b.dmp"]


def test_an_address_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://u:secret@[::1/a.dmp\nhttps://h/b.dmp\n")
    wrong, right = discover([f"@{tmp_path / 'list.txt'}"])
    assert (wrong.status, right) == (Status.ERROR, Found("https://h/b.dmp"))
    assert "no valid address" in wrong.reason and "secret" not in wrong.reason + key_of(wrong.path)
    with pytest.raises(UnreadableFile, match="no valid address"):
        paths("https://[::1/a.dmp")
