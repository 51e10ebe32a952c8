"""A server on loopback that answers whatever it is told, and strategies of answers that no server should give."""

from __future__ import annotations

import gzip
import socketserver
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hypothesis import strategies as st

from support.mutations import byte_edits, damaged, to_text, values


@dataclass
class RawServer:
    """Where it listens, and what it answers next."""

    url: str
    answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n"


@contextmanager
def raw_server() -> Iterator[RawServer]:
    """Read a request's head and body, send the answer, hang up; again for every connection."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = 60

        def handle(self) -> None:
            with suppress(OSError, ValueError):
                length = 0
                for line in self.rfile:
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                    if not line.strip():
                        break
                self.rfile.read(length)
                self.wfile.write(server.answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        server = RawServer(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


STATUSES = [
    200,
    202,
    204,
    206,
    200,
    202,
    100,
    199,
    301,
    302,
    304,
    307,
    400,
    401,
    403,
    404,
    408,
    410,
    413,
    422,
    429,
    500,
    502,
    503,
    511,
    599,
    600,
    999,
    0,
    1,
    99,
    1000,
    -1,
]
DATES = [
    "Wed, 21 Oct 2015 07:28:00 GMT",
    "Wed, 21 Oct 99999 07:28:00 GMT",
    "Wed, 99 Foo 2015 99:99:99 +9999",
    "0 0 0 0 0",
    "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
    "Wed, 21 Oct 2015 07:28:00 -0000",
    "Mon",
    "1 Jan 1 0:0:0 +2359",
    "31 Dec 9999 23:59:59 -2359",
    "1 Jan 0 00:00",
    ", , ,",
    "Wed, 21 Oct 2015",
    "21 Oct 99999999999999999999 1:1:1",
]
NUMBERS = ["", "0", "-1", "1e999", "nan", "inf", "1_0", "٣", "9" * 400, "0x10", "30, 40", "1e308", "1;2", " 7 "]
HEADERS = [
    "Retry-After",
    "X-RateLimit-Reset",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Encoding",
    "Content-Type",
    "Location",
    "Set-Cookie",
    "Connection",
    "X",
    "",
    "Content-Range",
    "WWW-Authenticate",
    "Refresh",
]
WORDS = [
    "chunked",
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, gzip",
    "identity",
    "application/json",
    "text/html; charset=nobody",
    "application/json; charset=utf-16",
    "file:///etc/passwd",
    "http://127.0.0.1:1/",
    "close",
    "keep-alive",
    "\xff\xfe",
    "x" * 70_000,
    "Basic realm=x",
    "a\x00b",
    "multipart/form-data",
]

headers = st.lists(
    st.tuples(
        st.sampled_from(HEADERS), st.one_of(st.sampled_from(DATES), st.sampled_from(NUMBERS), st.sampled_from(WORDS))
    ),
    max_size=4,
)
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"errors": null}',
    b'{"errors": ["secret-key"]}',
    b'{"errors": {"a": 1}}',
    b'{"status": "ok"}',
    b'{"status": 7}',
    b'{"data": null}',
    b'{"data": [{"labels": {"job": "model_health"}}]}',
    b'{"data": [{"labels": {"job": "model_health", "model": "../x", "suite": ""}}]}',
    b'{"data": [{"labels": [1]}]}',
    b'{"data": {"a": 1}}',
    b"<html>sign in</html>",
    b"\xff\xfe\x00",
    b'"\xed\xa0\x80"',
    b"{" * 5000,
    b"[" * 100_000,
    b"9" * 5000,
    b"\x00" * 100_000,
    b"5\r\nabc",
    b"ffffffffffffffff\r\n",
    b"-5\r\nabc\r\n0\r\n\r\n",
    b"zz\r\n",
]
bodies = st.one_of(
    st.sampled_from(BODIES),
    st.binary(max_size=60),
    values.map(lambda value: to_text(value).encode("utf-8", "replace")),
    st.dictionaries(st.sampled_from(["errors", "data", "status", "labels"]), values, max_size=2).map(
        lambda value: to_text(value).encode("utf-8", "replace")
    ),
    st.lists(
        st.fixed_dictionaries({"labels": st.dictionaries(st.sampled_from(["job", "model", "suite"]), values)})
    ).map(lambda groups: to_text({"data": groups}).encode("utf-8", "replace")),
)
PACKED = {
    "gzip": lambda body: gzip.compress(body),
    "deflate": lambda body: zlib.compress(body),
    "bomb": lambda body: gzip.compress(body + b" " * 2**23),
}


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A whole answer: mostly HTTP, with a status, headers, framing and a body of any kind."""
    body = draw(bodies)
    reason = draw(st.sampled_from(["OK", "", "x" * 300, "No\x0bGood"]))
    lines = [f"HTTP/1.1 {draw(st.sampled_from(STATUSES))} {reason}"]
    packed = draw(st.sampled_from([None, None, None, None, *sorted(PACKED)]))
    if packed is not None:
        body = PACKED[packed](body)
        lines.append(f"Content-Encoding: {'gzip' if packed == 'bomb' else packed}")
    framing = draw(st.sampled_from(["length", "length", "length", "none", "chunked", "long", "short"]))
    if framing == "chunked":
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        lines.append("Transfer-Encoding: chunked")
    elif framing != "none":
        lines.append(f"Content-Length: {len(body) + {'length': 0, 'long': 10**12, 'short': -1}[framing]}")
    lines += [f"{name}: {value}" for name, value in draw(headers)]
    head = "\r\n".join(lines).encode("latin-1", "replace")
    whole = head + b"\r\n\r\n" + body
    return damaged(whole, draw(byte_edits)[:2]) if draw(st.integers(0, 3)) == 0 else whole
