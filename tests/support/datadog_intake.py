"""A local stand-in for Datadog's API: reads every body with the client's own models, keeps its limits, remembers all.

    with datadog_intake() as intake:
        intake.script(too_many_requests(30), TAKEN_THEN_RESET)      the next two requests; then it is healthy again
        ...
        assert intake.gauge("model_health.run_healthy", model="m") == 1.0

Like the real one it takes points of the last hour only and drops others without a word: they are in `dropped`. Points
with one name, one set of tags and one time overwrite each other, unless they are a COUNT, which adds up.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import threading
import time
import traceback
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from datadog_api_client.v1.model.event_create_request import EventCreateRequest
from datadog_api_client.v1.model.service_checks import ServiceChecks
from datadog_api_client.v2.model.event_create_request_payload import EventCreateRequestPayload
from datadog_api_client.v2.model.metric_payload import MetricPayload

from support.datadog_faults import Fault, misbehave
from support.datadog_parse import Malformed, parse
from support.datadog_resources import Resources

API_KEY = "0123456789abcdef0123456789abcdef"
APP_KEY = "0123456789abcdef0123456789abcdef01234567"

MAX_COMPRESSED = 512_000
MAX_DECOMPRESSED = 5_242_880
MAX_AGE = 3_600
MAX_AHEAD = 600
MAX_EVENT_AGE = 18 * 3_600
MAX_CHECK_AGE = 600
COUNT = 1

_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,199}")


@dataclass(frozen=True)
class Request:
    """One request as it came, without its keys. `status` is None where a fault kept the answer back."""

    method: str
    path: str
    query: dict[str, str]
    encoding: str
    size: int
    body: bytes
    taken: bool
    status: int | None


@dataclass(frozen=True)
class Point:
    """One point of a series that was taken."""

    metric: str
    tags: tuple[str, ...]
    timestamp: int
    value: float
    type: int
    unit: str | None
    host: str | None


class Intake:
    """What the server was sent, and how it shall behave. `clock` gives seconds since 1970."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.url = url
        self.clock = clock
        self.requests: list[Request] = []
        self.points: list[Point] = []
        self.dropped: list[Point] = []
        self.events: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.broken: list[str] = []
        self.resources = Resources()
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._faults: deque[Fault | None] = deque()

    def script(self, *faults: Fault | None) -> None:
        """What becomes of the next requests, in order; None is a healthy answer."""
        self._faults.extend(faults)

    def next_fault(self) -> Fault | None:
        """The fault of the request at hand."""
        return self._faults.popleft() if self._faults else None

    @property
    def is_silent_next(self) -> bool:
        """Whether the next request gets no answer."""
        fault = self._faults[0] if self._faults else None
        return fault is not None and fault.is_silent

    @property
    def scripted(self) -> int:
        """How many faults are still to come."""
        return len(self._faults)

    def store(self) -> dict[tuple[str, tuple[str, ...], int], float]:
        """The value of each point as a graph would show it: gauges overwritten, counts added up."""
        values: dict[tuple[str, tuple[str, ...], int], float] = {}
        for point in self.points:
            key = point.metric, point.tags, point.timestamp
            values[key] = point.value + (values.get(key, 0.0) if point.type == COUNT else 0.0)
        return values

    def gauge(self, metric: str, **tags: str) -> float:
        """The newest value of the one series with this name and (among others) these tags."""
        wanted = {f"{name}:{value}" for name, value in tags.items()}
        found = {key: value for key, value in self.store().items() if key[0] == metric and wanted <= set(key[1])}
        series = {key[1] for key in found}
        assert len(series) == 1, f"{metric} {sorted(wanted)}: {len(series)} series, {sorted(series)[:3]}"
        return found[max(found, key=lambda key: key[2])]

    def events_by_key(self) -> dict[str, list[dict[str, Any]]]:
        """Events under their aggregation key: a person sees each key as one entry, with its history."""
        found: dict[str, list[dict[str, Any]]] = {}
        for event in self.events:
            found.setdefault(event["aggregation_key"], []).append(event)
        return found

    def told(self) -> list[tuple[str, str]]:
        """Aggregation key and title of each thing that a person is told, repetitions left out, in order."""
        return list(dict.fromkeys((event["aggregation_key"], event["title"]) for event in self.events))

    def statuses(self) -> Counter[int | None]:
        """How often each status was answered."""
        return Counter(request.status for request in self.requests)

    def handle(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """The healthy answer to a request with a valid key, after which it has had its effect."""
        try:
            if (method, path) == ("POST", "/api/v2/series"):
                self._take_metrics(parse(body, MetricPayload))
                return 202, {"errors": []}
            if (method, path) == ("POST", "/api/v1/check_run"):
                self._take_checks(parse(body, ServiceChecks))
                return 202, {"status": "ok"}
            if (method, path) == ("POST", "/api/v1/events"):
                return 202, {"status": "ok", "event": self._take_event(parse(body, EventCreateRequest))}
            if (method, path) == ("POST", "/api/v2/events"):
                content = parse(body, EventCreateRequestPayload).to_dict()["data"]["attributes"]
                self.events.append({"aggregation_key": None, **content})
                return 202, {"data": {"type": "event", "attributes": {"attributes": {"evt": {"id": "1"}}}}}
            if (method, path) == ("GET", "/api/v1/validate"):
                return 200, {"valid": True}
        except Malformed as error:
            return 400, {"errors": [str(error)]}
        return self.resources.handle(method, path, query, body) or (404, {"errors": ["Not found"]})

    def _take_metrics(self, payload: Any) -> None:
        now = self.clock()
        taken, dropped = [], []
        for series in payload.to_dict()["series"]:
            tags = tuple(series.get("tags", ()))
            _check_series(series["metric"], tags)
            hosts = [resource["name"] for resource in series.get("resources", ()) if resource["type"] == "host"]
            for point in series["points"]:
                found = Point(
                    series["metric"],
                    tags,
                    point["timestamp"],
                    float(point["value"]),
                    series.get("type", 0),
                    series.get("unit"),
                    hosts[0] if hosts else None,
                )
                in_time = now - MAX_AGE <= found.timestamp <= now + MAX_AHEAD
                (taken if in_time else dropped).append(found)
        self.points += taken
        self.dropped += dropped

    def _take_checks(self, checks: Any) -> None:
        now = self.clock()
        found = checks.to_dict() if hasattr(checks, "to_dict") else [check.to_dict() for check in checks.value]
        for check in found:
            if abs(now - check.get("timestamp", now)) > MAX_CHECK_AGE:
                raise Malformed("the check is more than ten minutes away")
            _check_series(check["check"], tuple(check["tags"]))
        self.checks += found

    def _take_event(self, event: Any) -> dict[str, Any]:
        content = event.to_dict()
        if self.clock() - content.get("date_happened", self.clock()) > MAX_EVENT_AGE:
            raise Malformed("the event is more than 18 hours old")
        self.events.append({"aggregation_key": None, **content})
        return {"id": len(self.events), "title": content["title"], "text": content["text"]}


def _check_series(name: str, tags: tuple[str, ...]) -> None:
    if _METRIC.fullmatch(name) is None:
        raise Malformed(f"{name!r} is no metric name")
    bad = [tag for tag in tags if not _is_stored_as_it_is(tag)]
    if bad or len(tags) > 100:
        raise Malformed(f"{len(tags)} tags, not stored as they are: {bad}")


def _is_stored_as_it_is(tag: str) -> bool:
    """Whether Datadog keeps the tag without changing it: Unicode letters are among what it takes."""
    plain = all(char.isalnum() or char in "_-:./" for char in tag)
    return plain and tag[:1].isalpha() and tag == tag.lower() and len(tag) <= 200


@contextmanager
def datadog_intake(
    *, api_key: str = API_KEY, app_key: str = APP_KEY, clock: Callable[[], float] = time.time
) -> Iterator[Intake]:
    """Start an intake on a free port of the loopback; stop it at the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            with intake.lock:
                fault = intake.next_fault()
                status, content, body = self._result(parts.path, query, raw, fault)
                shown = None if fault is not None and fault.kind != "answer" else fault.status if fault else status
                intake.requests.append(
                    Request(
                        self.command,
                        parts.path,
                        query,
                        self.headers.get("Content-Encoding", ""),
                        len(raw),
                        body,
                        fault is None or fault.taken,
                        shown,
                    )
                )
            answer = json.dumps(content).encode()
            if fault is not None:
                misbehave(self, fault, intake.closing, answer)
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _result(self, path: str, query: dict[str, str], raw: bytes, fault: Fault | None) -> tuple[int, Any, bytes]:
            if len(raw) > MAX_COMPRESSED:
                return 413, {"errors": ["Payload too large"]}, b""
            try:
                body = _decompress(raw, self.headers.get("Content-Encoding", ""))
            except (OSError, EOFError, zlib.error) as error:
                return 400, {"errors": [f"cannot be decompressed: {error}"]}, b""
            if len(body) > MAX_DECOMPRESSED:
                return 413, {"errors": ["Payload too large"]}, b""
            needs_app_key = path.startswith(("/api/v1/monitor", "/api/v1/dashboard"))
            if self.headers.get("DD-API-KEY") != api_key or (
                needs_app_key and self.headers.get("DD-APPLICATION-KEY") != app_key
            ):
                return 403, {"errors": ["Forbidden"]}, body
            if fault is not None and not fault.taken:
                return fault.status, {"errors": []}, body
            return (*intake.handle(self.command, path, query, body), body)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away while it is answered is part of the play; anything else is a mistake of ours."""
            if not isinstance(sys.exc_info()[1], OSError):
                intake.broken.append(traceback.format_exc())

    server = Server(("127.0.0.1", 0), Handler)
    intake = Intake(f"http://127.0.0.1:{server.server_address[1]}", clock)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield intake
    finally:
        intake.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert not intake.broken, intake.broken[0]


def _decompress(raw: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(raw)
    return zlib.decompress(raw) if encoding == "deflate" else raw
