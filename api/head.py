"""HEAD wherever there is GET: the same headers, and nothing after them; also of a stream."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        get = {**scope, "method": "GET"}
        answered = asyncio.Event()

        async def headers_alone(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "route" in get:  # for those who count requests by their route
                    scope["route"] = get["route"]
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                answered.set()

        asked = False

        async def gone_when_answered() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await answered.wait()
            return {"type": "http.disconnect"}

        await self._app(get, gone_when_answered, headers_alone)
