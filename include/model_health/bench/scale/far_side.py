"""The other side of every delivery: an HTTP server in a process of its own that takes whatever is sent.

Owns the counting of what arrived, and an answer of 503 now and then. In another process, so that its memory, threads
and sockets are not counted as ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from model_health.errors import CouldNotMeasure

COUNTS = "/counts"


@dataclass(frozen=True)
class FarSide:
    """A running far side."""

    url: str

    def counts(self) -> dict[str, int]:
        """Requests by the first part of their path, those that were refused as `refused`."""
        with urllib.request.urlopen(f"{self.url}{COUNTS}", timeout=60) as answer:  # noqa: S310  # our own address
            return {str(name): int(number) for name, number in json.load(answer).items()}


@contextmanager
def far_side(*, refuse_every: int = 0) -> Iterator[FarSide]:
    """Start one on a free port of loopback; every so manieth request is refused for now (0: none)."""
    command = [sys.executable, "-m", "model_health.bench.scale.far_side", str(refuse_every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise CouldNotMeasure("ended before it was ready", subject="the far side")
        yield FarSide(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def serve(refuse_every: int) -> None:
    """Serve until the process is ended; the port goes to standard output."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = b"ok"
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                if self.path == COUNTS:
                    status, body = 200, json.dumps(counts).encode()
                else:
                    counts["all"] += 1
                    refused = refuse_every > 0 and counts["all"] % refuse_every == 0
                    status = 503 if refused else 200
                    counts["refused" if refused else self.path.split("/")[1]] += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
