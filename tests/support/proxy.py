"""A reverse proxy that serves one path and nothing else: what a dashboard behind a company's gateway meets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientSession, WSMsgType, web

from support.browser import free_port

_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-encoding", "content-length"}


@contextmanager
def proxied(upstream: str, path: str) -> Iterator[str]:
    """Serve `upstream` (scheme, host, port) below `/path` at another origin; gives the address without a slash.

    Everything outside the path is 404, so that an address that forgot it is noticed. `Host` is passed on, as usual.
    """
    port = free_port()
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async with ClientSession(auto_decompress=False) as session:
            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", f"/{path}{{rest:.*}}", _handler(session, upstream))
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            ready.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(60), "the proxy did not start"
    try:
        yield f"http://localhost:{port}/{path}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)


def _handler(session: ClientSession, upstream: str):  # type: ignore[no-untyped-def]
    async def handle(request: web.Request) -> web.StreamResponse:
        url = f"{upstream}{request.raw_path}"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _websocket(session, request, url.replace("http://", "ws://"))
        async with session.request(
            request.method, url, headers=headers, data=await request.read(), allow_redirects=False
        ) as answer:
            body = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP - {"content-encoding"}}
            return web.Response(status=answer.status, headers=kept, body=body)

    return handle


async def _websocket(session: ClientSession, request: web.Request, url: str) -> web.WebSocketResponse:
    asked = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if part.strip()]
    passed = {name: request.headers[name] for name in ("Host", "Origin", "Cookie") if name in request.headers}
    async with session.ws_connect(url, headers=passed, protocols=asked, max_msg_size=0) as far:
        near = web.WebSocketResponse(protocols=[far.protocol] if far.protocol else [], max_msg_size=0)
        await near.prepare(request)

        async def pump(source, target) -> None:  # type: ignore[no-untyped-def]
            async for message in source:
                if message.type == WSMsgType.BINARY:
                    await target.send_bytes(message.data)
                elif message.type == WSMsgType.TEXT:
                    await target.send_str(message.data)
            await target.close()

        await asyncio.gather(pump(near, far), pump(far, near), return_exceptions=True)
    return near
