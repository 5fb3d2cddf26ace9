"""Web servers on loopback that serve ranges of a folder: well, badly, or not at all."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import ProxyHandler, build_opener


class RangeServer(ThreadingHTTPServer):
    """Serves ``/MANNER/NAME``; ``seen`` counts requests by manner, ``ranges`` lists what was asked for.

    With ``changed`` the files are other ones: another ETag, date, or (``grows``) size.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.seen: Counter[str] = Counter()
        self.ranges: list[tuple[int, int]] = []
        self.sent = 0
        self.changed = False

    def url(self, manner: str, name: str) -> str:
        """The address of a file, served in a manner."""
        return f"http://127.0.0.1:{self.server_port}/{manner}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""

    def do_GET(self) -> None:
        _, manner, name = self.path.partition("?")[0].split("/", 2)
        self.server.seen[manner] += 1
        turn = self.server.seen[manner]
        path = self.server.folder / name
        if manner.isdigit():
            return self._answer(int(manner), b"")
        if not path.is_file():
            return self._answer(404, b"no such file")
        if manner == "busy" and turn in (2, 3):
            return self._answer(503, b"")
        size = path.stat().st_size + (manner == "grows" and self.server.changed)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if manner == "ignores" or asked is None:
            return self._whole(path)
        start, end = int(asked[1]), min(int(asked[2]) + 1, size)
        if start >= size:
            return self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
        self.server.ranges.append((start, end))
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start).ljust(end - start, b"\0")
        headers = {"Content-Range": f"bytes {start + (manner == 'shifts')}-{end - 1}/{size}"}
        if manner == "dated":
            headers["Last-Modified"] = f"Sun, 22 Nov 2026 19:0{int(self.server.changed)}:00 GMT"
        elif manner != "unmarked":
            headers["ETag"] = f'"version-{int(self.server.changed)}"'
        drops = manner == "dead" or (manner == "drops" and turn % 2 == 0)
        return self._answer(206, data, headers, drops)

    def _answer(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, drops: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if drops else data)
        self.server.sent += len(data)
        self.close_connection = drops

    def _whole(self, path: Path) -> None:
        """The whole file, slowly: a client that reads it all is seen by ``sent``."""
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        with path.open("rb") as file:
            while chunk := file.read(1 << 16):
                self.wfile.write(chunk)
                self.server.sent += len(chunk)


@contextmanager
def range_server(folder: Path) -> Iterator[RangeServer]:
    """A :class:`RangeServer` in a thread."""
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")

_NGINX_CONF = """
daemon off; master_process off; pid {state}/pid; error_log {state}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {state}/access.log; sendfile on;
  client_body_temp_path {state}/b; proxy_temp_path {state}/p; fastcgi_temp_path {state}/f;
  uwsgi_temp_path {state}/u; scgi_temp_path {state}/s;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@contextmanager
def nginx(folder: Path, state: Path) -> Iterator[str]:
    """nginx over ``folder``; its files lie in ``state``. Yields the address."""
    assert NGINX is not None
    port = free_port()
    conf = state / "nginx.conf"
    conf.write_text(_NGINX_CONF.format(state=state, folder=folder, port=port))
    command = [NGINX, "-p", str(state), "-c", str(conf), "-e", str(state / "error.log")]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command) as process:
        try:
            wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait(10)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a server answers, with whatever. :raises RuntimeError: it does not."""
    # moto takes half a minute to start on a busy machine.
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            # Not urlopen: its opener is the process's, and volatility3 puts itself in there.
            build_opener(ProxyHandler({})).open(address, timeout=1).close()
        except OSError as error:
            if "HTTP Error" in str(error):
                return
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer at {address}")
