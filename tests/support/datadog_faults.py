"""Ways in which an HTTP server misbehaves, to be scripted by a test. Knows sockets, nothing of Datadog."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal

from model_health.errors import DeliveryFailed


@dataclass(frozen=True)
class Fault:
    """What becomes of one request.

    Args:
        kind: `answer` (with `status`, `headers`, `body`), `silence` (no answer until the client gives up), `reset`
            (RST), `half_closed` (our half is closed without an answer), `slow_body` (headers, then a byte at a time),
            `cut_body` (fewer bytes than announced).
        taken: whether the request has its effect all the same, as when an answer is lost on its way back.
        seconds: pause between two bytes of `slow_body`.
    """

    kind: Literal["answer", "silence", "reset", "half_closed", "slow_body", "cut_body"]
    taken: bool = False
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"errors": ["try again"]}'
    seconds: float = 0.05

    @property
    def is_silent(self) -> bool:
        """Whether only the client's own time-out ends it."""
        return self.kind == "silence" or (self.kind == "slow_body" and self.seconds > SHORT_PATIENCE)


# How long a client of a test waits: no healthy answer is that late, however loaded the machine is. Only where silence
# is what a test is about, and has to be sat out, does the client wait for less.
PATIENCE = 60.0
SHORT_PATIENCE = 0.3


def patience_with(fault: Fault | None) -> float:
    """The time-out of a client whose next request gets this fault."""
    return SHORT_PATIENCE if fault is not None and fault.is_silent else PATIENCE


def is_delivered(send: Callable[[], object]) -> bool:
    """Whether it went through now: an impatient client may give up a healthy answer as well, and tries again."""
    try:
        send()
    except DeliveryFailed:
        return False
    return True


def too_many_requests(reset_seconds: float | None = None, retry_after: str | None = None) -> Fault:
    """429 with the headers that Datadog sends."""
    headers = {"X-RateLimit-Limit": "100", "X-RateLimit-Period": "60", "X-RateLimit-Remaining": "0"}
    if reset_seconds is not None:
        headers["X-RateLimit-Reset"] = str(reset_seconds)
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Fault("answer", status=429, headers=headers, body=b'{"errors": ["Too many requests"]}')


def answer(status: int, body: bytes = b'{"errors": ["no"]}', *, taken: bool = False, **headers: str) -> Fault:
    """Any status; header names with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault("answer", status=status, body=body, headers=named, taken=taken)


SILENCE = Fault("silence")
RESET = Fault("reset")
HALF_CLOSED = Fault("half_closed")
TAKEN_THEN_SILENCE = Fault("silence", taken=True)
TAKEN_THEN_RESET = Fault("reset", taken=True)
TAKEN_THEN_HALF_CLOSED = Fault("half_closed", taken=True)


def misbehave(handler: BaseHTTPRequestHandler, fault: Fault, closing: threading.Event, usual: bytes) -> None:
    """Answer one request as the fault says. The connection is not used again.

    Args:
        handler: that has read the whole request.
        fault: what to do.
        closing: set when the server stops, which ends a silence.
        usual: the body that a healthy server would send.
    """
    handler.close_connection = True
    connection = handler.connection
    if fault.kind == "answer":
        _head(handler, fault.status, {"Content-Length": str(len(fault.body)), **fault.headers})
        handler.wfile.write(fault.body)
    elif fault.kind in ("silence", "half_closed"):
        if fault.kind == "half_closed":
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.02)
        while not closing.is_set():
            try:
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    elif fault.kind == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    elif fault.kind == "cut_body":
        _head(handler, 202, {"Content-Length": str(len(usual) + 10), "Content-Type": "application/json"})
        handler.wfile.write(usual)
    else:
        _head(handler, 202, {"Content-Length": str(len(usual)), "Content-Type": "application/json"})
        for place in range(len(usual)):
            try:
                handler.wfile.write(usual[place : place + 1])
                handler.wfile.flush()
            except OSError:
                break
            closing.wait(fault.seconds)


def _head(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.flush()
