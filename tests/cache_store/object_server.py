"""A small S3 on this machine, and a web server with WebDAV's lists: the files of a folder. It counts what it sends."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

TIME, WEB_TIME = "2026-01-01T00:00:00.000Z", "Thu, 01 Jan 2026 00:00:00 GMT"
URL = "s3://bucket/features"


@contextmanager
def s3_from(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["ObjectServer"]:
    """Let s3:// mean the folders in `root`, as few names on a page of a list as there can be, nothing asked again."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with ObjectServer(root, page_size=2) as server:
        settings = {"ENDPOINT_URL": server.address, "ALLOW_HTTP": "true", "SKIP_SIGNATURE": "true", "REGION": "here"}
        for name, setting in settings.items():
            monkeypatch.setenv(f"AWS_{name}", setting)
        monkeypatch.setattr("cache.places.objects.PATIENCE", {"max_retries": 0})
        yield server


class ObjectServer(ThreadingHTTPServer):
    """Serves the folders in `root` as buckets. Use it in a `with` block.

    failures: (part of a request's path and query, status): such requests are answered so.
    stumbles: so many requests more are answered with 500.
    requests: (method, path and query, bytes sent) of what was asked, newest last.
    page_size: names on one page of a listing.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root: Path, page_size: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.page_size = root, page_size
        self.failures: list[tuple[str, int]] = []
        self.stumbles = 0
        self.requests: list[tuple[str, str, int]] = []

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def sent(self) -> int:
        """Return the bytes of all answers since the last call."""
        total = sum(num_bytes for _, _, num_bytes in self.requests)
        self.requests.clear()
        return total


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # the head and the body of an answer in one packet: a second one would wait for 40 ms
    server: ObjectServer

    def do_GET(self) -> None:
        if self._failed():
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = self.server.root / unquote(url.path).lstrip("/")
        if "list-type" in query:
            self._answer(200, self._listing(path, query))
        elif path.is_file():
            self._send(path.read_bytes())
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_HEAD = do_GET

    def do_PROPFIND(self) -> None:
        if self._failed():
            return
        root, folder = self.server.root, self.server.root / unquote(self.path).lstrip("/")
        if not folder.exists():
            return self._answer(404, b"")
        entries = sorted(folder.rglob("*") if self.headers["Depth"] == "infinity" else folder.glob("*"))
        responses = [
            f"<response><href>/{quote(entry.relative_to(root).as_posix())}</href><propstat><status>HTTP/1.1 200 OK"
            f"</status><prop><getlastmodified>{WEB_TIME}</getlastmodified><getcontentlength>{entry.stat().st_size}"
            f"</getcontentlength><resourcetype>{'<collection/>' * entry.is_dir()}</resourcetype></prop></propstat>"
            "</response>"
            for entry in [folder, *entries]
        ]
        self._answer(207, f'<multistatus xmlns="DAV:">{"".join(responses)}</multistatus>'.encode())

    def _failed(self) -> bool:
        server = self.server
        status = next((status for part, status in server.failures if part in self.path), 0)
        if server.stumbles:
            status, server.stumbles = 500, server.stumbles - 1
        if status:
            self._answer(status, b"<Error>as the test wants it</Error>")
        return bool(status)

    def _send(self, data: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not found:
            return self._answer(200, data)
        start, stop = int(found[1]), min(int(found[2]) + 1, len(data))
        if start >= len(data):
            return self._answer(416, b"<Error><Code>InvalidRange</Code></Error>")
        self._answer(206, data[start:stop], f"bytes {start}-{stop - 1}/{len(data)}")

    def _listing(self, bucket: Path, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        files = {path.relative_to(bucket).as_posix(): path for path in bucket.rglob("*") if path.is_file()}
        found = dict.fromkeys(
            prefix + key[len(prefix) :].split(delimiter)[0] + delimiter
            if delimiter and delimiter in key[len(prefix) :]
            else key
            for key in sorted(files)
            if key.startswith(prefix)
        )
        start = int(query.get("continuation-token", 0))
        page, after = list(found)[start : start + self.server.page_size], start + self.server.page_size
        parts = [f"<IsTruncated>{str(after < len(found)).lower()}</IsTruncated>"]
        if after < len(found):
            parts.append(f"<NextContinuationToken>{after}</NextContinuationToken>")
        for key in page:
            if key in files:
                size = files[key].stat().st_size
                parts.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>{TIME}</LastModified><Size>{size}</Size></Contents>"
                )
            else:
                parts.append(f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>")
        return f"<ListBucketResult>{''.join(parts)}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", WEB_TIME)
        self.send_header("ETag", '"1"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "HEAD":
            body = b""
        self.server.requests.append((self.command, self.path, len(body)))
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
