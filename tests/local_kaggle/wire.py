"""The wire: HTTP as the official client speaks it, uploads, downloads, and the faults."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from . import competitions, datasets, kernels
from .faults import Fault
from .sessions import POLL
from .state import Platform
from .things import ENDED, Refusal, Version

CALLS = {**kernels.CALLS, **datasets.CALLS, **competitions.CALLS}
PAGE = b"<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>\n"
FOLLOW = "/api/v1/kernels/logs/stream/"
CHUNK = 1 << 20


class Server(ThreadingHTTPServer):
    """A thread for each connection, none of which keeps the process alive."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, platform: Platform, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.platform = platform

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; a killed one does."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Answer:
    """What a request is answered with: a body, a file, or the log of a version that runs."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
        file: Path | None = None,
        version: Version | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = {"Content-Type": kind, **(headers or {})}
        self.file = file
        self.version = version

    @classmethod
    def json(cls, status: int, body: dict[str, Any]) -> Answer:
        return cls(status, json.dumps(body).encode())

    @classmethod
    def error(cls, status: int, message: str) -> Answer:
        return cls.json(status, {"code": status, "message": message})


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for the client's acknowledgement
    server: Server
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the platform tells what happens."""

    @property
    def where(self) -> str:
        """Path of the request, which a client that speaks to a proxy gives in absolute form."""
        return unquote(urlsplit(self.path).path)

    def do_POST(self) -> None:
        body = b"".join(self._body())
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            self._send(Answer.error(400, "The body is not JSON"))
            return
        rpc = self.where.rpartition("/")[2]
        self._meet(rpc, request, lambda: self._call(rpc, request))

    def do_PUT(self) -> None:
        self._meet("PUT", {"path": self.where}, self._upload)

    def do_GET(self) -> None:
        self._meet("GET", {"path": self.where}, self._download)

    def _meet(self, rpc: str, request: dict[str, Any], answer: Any) -> None:
        """Answer, or meet the fault that waits for this call."""
        platform = self.server.platform
        with platform.lock:
            platform.calls.append((rpc, request))
            met = [fault for fault in platform.faults if fault.meets(rpc, self.where)]
        if not met:
            self._send(answer())
            return
        fault = met[0]
        done = answer() if fault.after or fault.kind == "truncated" else None
        if done is None and rpc == "PUT":
            for _ in self._body():  # it arrives, and is lost
                pass
        self._fail(fault, done)

    def _fail(self, fault: Fault, done: Answer | None) -> None:
        if fault.kind in ("reset", "timeout"):
            if fault.kind == "timeout":
                fault.wait()
            self.close_connection = True
        elif fault.kind == "truncated":
            self._send(done or Answer(200), short=True)
        elif fault.kind.startswith("error-page"):
            self._send(Answer(502 if fault.kind.endswith("502") else 200, PAGE, "text/html"))
        else:
            said = Answer.error(int(fault.kind), "Too many requests" if fault.kind == "429" else "")
            if fault.retry_after is not None:
                said.headers["Retry-After"] = f"{fault.retry_after:g}"
            self._send(said)

    def _call(self, rpc: str, request: dict[str, Any]) -> Answer:
        platform = self.server.platform
        if rpc == "IntrospectToken":
            known = request.get("token") == platform.key
            return Answer.json(200, {"active": known, "username": platform.user if known else ""})
        said = base64.b64encode(f"{platform.user}:{platform.key}".encode()).decode()
        if self.headers["Authorization"] not in (f"Basic {said}", f"Bearer {platform.key}"):
            return Answer.error(401, "Unauthenticated")
        if rpc not in CALLS:
            return Answer.error(404, f"There is no method {rpc}")
        try:
            return Answer.json(200, CALLS[rpc](platform, request))
        except Refusal as refusal:
            return Answer.error(refusal.status, str(refusal))

    def _body(self) -> Any:
        """Yield the body, of a known length or in chunks."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while length := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (some := self.rfile.read(min(left, CHUNK))):
            left -= len(some)
            yield some
        if left:  # the client is gone in the middle of it
            self.close_connection = True

    def _upload(self) -> Answer:
        """Take an upload, or the rest of one, or say how much of it has come."""
        blob = self.server.platform.blobs.get(self.where.split("/")[2])
        if blob is None:
            for _ in self._body():
                pass
            return Answer.error(404, "There is no such upload")
        part = re.match(r"bytes (\d+|\*)[-/]", self.headers.get("Content-Range", "bytes 0-"))
        start = part[1] if part else "0"
        if start != "*":
            blob.path.touch()
            with open(blob.path, "r+b") as file:
                file.truncate(int(start))
                file.seek(int(start))
                for some in self._body():
                    file.write(some)
        size = blob.path.stat().st_size if blob.path.exists() else 0
        if size == blob.length and (size or start != "*"):
            return Answer(200, b"{}")
        return Answer(308, headers={"Range": f"bytes=0-{size - 1}"} if size else {})

    def _download(self) -> Answer:
        """Serve a kept file of a session, whole or from a byte on."""
        parts = self.where.strip("/").split("/")
        if self.where.startswith(FOLLOW):
            return self._follow(parts[-2], parts[-1])
        if parts[0] != "output" or len(parts) < 5:
            return Answer.error(404, "There is nothing here")
        request = {"userName": parts[1], "kernelSlug": parts[2], "versionLabel": parts[3]}
        try:
            _, version = self.server.platform.version(request)
        except Refusal as refusal:
            return Answer.error(refusal.status, str(refusal))
        path = version.working.joinpath(*parts[4:]).resolve()
        if not path.is_file() or not path.is_relative_to(version.working.resolve()):
            return Answer.error(404, "There is no such file")
        about = path.stat()
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{about.st_ino:x}-{about.st_mtime_ns:x}-{about.st_size:x}"',
            "Last-Modified": formatdate(about.st_mtime, usegmt=True),
        }
        return Answer(200, b"", "application/octet-stream", headers, path)

    def _follow(self, owner: str, slug: str) -> Answer:
        """Serve a log while it grows, as server-sent events; of an ended session, all of it."""
        try:
            _, version = self.server.platform.version({"userName": owner, "kernelSlug": slug})
        except Refusal as refusal:
            return Answer.error(refusal.status, str(refusal))
        if version.status in ENDED:
            return Answer(200, kernels.served_log(version).encode())
        return Answer(200, kind="text/event-stream", version=version)

    def _send_events(self, version: Version) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        told, ended = 0, False
        while not ended:
            ended = version.status in ENDED
            for record in version.records[told:]:
                self.wfile.write(b"data: " + json.dumps(record).encode() + b"\n\n")
                told += 1
            time.sleep(POLL)
        self.wfile.write(b"data: END_OF_LOG\n\n")

    def _send(self, answer: Answer, short: bool = False) -> None:
        if answer.version is not None:
            self._send_events(answer.version)
            return
        status, start = answer.status, 0
        length = len(answer.body) if answer.file is None else answer.file.stat().st_size
        whole = length
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and answer.file is not None and status == 200 and self._unchanged(answer):
            start = int(asked[1])
            status = 206 if start < whole else 416
            answer.headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
            length = max(0, whole - start)
        self.send_response(status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        left = length // 2 if short else length
        if answer.file is None:
            self.wfile.write(answer.body[:left])
        else:
            with open(answer.file, "rb") as file:
                file.seek(start, os.SEEK_SET)
                while left and (some := file.read(min(left, CHUNK))):
                    self.wfile.write(some)
                    left -= len(some)
        if short:
            self.close_connection = True

    def _unchanged(self, answer: Answer) -> bool:
        return self.headers.get("If-Range", answer.headers["ETag"]) == answer.headers["ETag"]
