"""How the systems beside Lanka serve HTTP: with the settings of `lanka api`, and with its check of the API key."""

import hashlib
import hmac
import os
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException

from benchmarks.shop import KEYS

_SHOP = hashlib.sha256(KEYS["shop"].encode()).digest()


async def shop_only(authorization: Annotated[str, Header()]) -> None:
    key = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
    if not hmac.compare_digest(key, _SHOP):
        raise HTTPException(401)


def serve(app: FastAPI) -> None:
    """Serves until SIGTERM on the port of the environment."""

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )
