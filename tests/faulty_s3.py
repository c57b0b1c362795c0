"""A real S3 server (SeaweedFS), and an HTTP proxy in front of it that fails as networks and stores do."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from benchmarks.object_store import free_ports
from pyarrow import fs

BIN = Path(sys.executable).parent
KEYS = {"AWS_ACCESS_KEY_ID": "supreme-tests", "AWS_SECRET_ACCESS_KEY": "correct-horse-battery"}
_GUEST = {"accessKey": "guest", "secretKey": "guest-of-the-house"}
SECRETS = (KEYS["AWS_SECRET_ACCESS_KEY"], _GUEST["secretKey"])
_NOT_PASSED_ON = ("connection", "keep-alive", "te", "upgrade", "expect")


@dataclass(frozen=True)
class Request:
    """One line of the proxy's log."""

    number: int
    method: str
    path: str
    """With its query."""
    signed: bool
    bytes_in: int


#: What happens to a request: "" passes it on, "503 SlowDown" answers so instead of the server, "reset" drops
#: the connection, "hang" never answers, "cut" sends half of the answer's body, "garble" one byte of it wrong,
#: "lost" none of it, of a request that was carried out.
Plan = Callable[[Request], str]


def sometimes(seed: int, **shares: float) -> Plan:
    """Faults at random, ``sometimes(1, **{"503 SlowDown": 0.2, "cut": 0.05})``, thrice a path at most."""
    rng, lock, seen = random.Random(seed), threading.Lock(), Counter[str]()

    def plan(request: Request) -> str:
        with lock:
            drawn = rng.random()
            for fault, share in shares.items():
                drawn -= share
                if drawn < 0 and seen[request.path] < 3:
                    seen[request.path] += 1
                    return fault
        return ""

    return plan


@dataclass
class Proxy:
    """Between a client and an S3 server; its plan may be changed while it runs."""

    upstream: str
    address: str = ""
    plan: Plan = lambda request: ""
    requests: list[Request] = field(default_factory=list)
    faults: list[tuple[str, Request]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        self.requests.clear()
        self.faults.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    disable_nagle_algorithm = True

    def _pass(self) -> None:
        body = self._body()
        proxy = self.proxy
        signed = "Authorization" in self.headers or "X-Amz-Signature" in self.path
        with proxy.lock:
            request = Request(len(proxy.requests), self.command, self.path, signed, len(body))
            proxy.requests.append(request)
        fault = proxy.plan(request)
        if fault:
            proxy.faults.append((fault, request))
        if fault == "reset":
            self._reset()
        elif fault == "hang":
            proxy.stopping.wait(600)
            self.close_connection = True
        elif " " in fault:
            self._refuse(*fault.split())
        else:
            self._forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _body(self) -> bytes:
        """As it came: a chunked one with its frames."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        frames = []
        while True:
            frames.append(self.rfile.readline())
            size = int(frames[-1].split(b";")[0], 16)
            if size == 0:
                break
            frames.append(self.rfile.read(size + 2))
        while frames[-1] != b"\r\n":
            frames.append(self.rfile.readline())
        return b"".join(frames)

    def _forward(self, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=120)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _NOT_PASSED_ON:
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lost":
            self._reset()
            return
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in (*_NOT_PASSED_ON, "transfer-encoding", "content-length"):
                self.send_header(name, value)
        if answer.status != 204 and length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "garble" and self.command == "GET" and answer.headers.get("x-amz-checksum-crc32"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault == "cut":
            self.wfile.write(content[: len(content) // 2])
            self._reset(gently=True)
        else:
            self.wfile.write(content)

    def _refuse(self, status: str, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response_only(int(status))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self, gently: bool = False) -> None:
        if not gently:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR) if gently else self.connection.close()

    def log_message(self, format: str, *arguments: object) -> None:
        """The proxy keeps its own log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def proxy(upstream: str, port: int = 0) -> Iterator[Proxy]:
    """A proxy in front of ``host:port``, in a thread of this process; on a free port unless one is given."""
    made = Proxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": made})
    server = _Server(("127.0.0.1", port), handler)
    made.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stopping.set()
        server.shutdown()
        server.server_close()


@contextmanager
def server(command: list[str], answers: str, log: Path, **environment: str) -> Iterator[None]:
    """A server process for as long as the block; ``answers`` is a URL that it serves once it is up."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while not _is_up(answers):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # they take half a minute to end, and nothing is kept
        process.wait()


def _is_up(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()
    except HTTPError as refused:
        return refused.code == 403
    except OSError:
        return False
    return True


@contextmanager
def lake(folder: Path) -> Iterator[str]:
    """The ``host:port`` of a SeaweedFS server that checks signatures.

    Of its buckets, `lake` opens to :data:`KEYS` alone; `open` may be read by a guest and the public too.
    """
    ours = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    users = [
        {"name": "tests", "credentials": [ours], "actions": ["Admin", "Read", "Write", "List"]},
        {"name": "guest", "credentials": [_GUEST], "actions": ["Read:open", "List:open"]},
        {"name": "anonymous", "actions": ["Read:open", "List:open"]},
    ]
    (folder / "keys.json").write_text(json.dumps({"identities": users}))
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([n + k for n in names for k in (".port", ".port.grpc")], free_ports(8), strict=True))
    command = [str(BIN / "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-filer", "-s3", f"-s3.config={folder / 'keys.json'}", "-volume.max=20"]
    # Two more services, which would listen on fixed ports, are off.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    address = f"127.0.0.1:{ports['s3.port']}"
    with server(command, f"http://{address}/", folder / "weed.log"):
        for bucket in ("lake", "open"):
            _make_bucket(address, bucket)
        yield address


def _make_bucket(address: str, bucket: str) -> None:
    """The S3 gateway answers a little before the storage behind it does."""
    client = fs.S3FileSystem(
        access_key=KEYS["AWS_ACCESS_KEY_ID"],
        secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=address,
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            return client.create_dir(bucket)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
