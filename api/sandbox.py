"""The sandbox provider as the pages ask it: for a payment, for what its bank says, and how it is broken."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import httpx
from pydantic import BaseModel, Field

from api.problems import Code, Problem
from orders.payment import PaymentStatus

M = TypeVar("M", bound=BaseModel)

_FOR_GOOD = range(300, 500)
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class PaymentAnswer(BaseModel):
    payment_id: Annotated[str, Field(validation_alias="id")]
    status: PaymentStatus


class Sandbox:
    """The one at `url`; without it there is none."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        # The sandbox is a neighbour: no proxy from the environment may come between.
        self._client = httpx.AsyncClient(base_url=url or "", timeout=None, trust_env=False)  # noqa: S113, see `ask`

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        answer: type[M],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        within: float,
        missing: Code,
        refused: Mapping[int, Code],
        key: str | None = None,
    ) -> M:
        """What it answers within so many seconds, read as `answer`. The same `key` gives the same again.

        Raises the problems `missing` where there is no sandbox, those of `refused` by its status, `no_sandbox` where
        whatever answers refuses the call for good, and `payments_unavailable`, also where its answer makes no sense.
        """
        if self._url is None:
            raise Problem(missing)
        try:
            async with asyncio.timeout(within):
                headers = {"Idempotency-Key": key} if key else {}
                said = await self._client.request(method, path, json=body, headers=headers)
            if said.status_code in refused:
                raise Problem(refused[said.status_code])
            if said.status_code in _FOR_GOOD and said.status_code not in _LATER:
                raise Problem(Code.NO_SANDBOX)
            return answer.model_validate(said.raise_for_status().json())
        except (TimeoutError, httpx.HTTPError, ValueError) as error:
            raise Problem(Code.PAYMENTS_UNAVAILABLE, headers={"Retry-After": "2"}) from error
