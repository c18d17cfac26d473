"""The sandbox payment provider: the payment port over HTTP, and webhooks. Its failures are sorted here, once."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import stamina
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from standardwebhooks import Webhook, WebhookVerificationError
from yarl import URL

from chain.commands import printable
from chain.failures import Outage, UnexpectedAnswer
from chain.subject import Identifier
from gateways.choice import PaymentSettings
from orders.payment import Payment, PaymentStatus
from orders.ports import ListedPayment, NotGenuineError, PaymentNews, UnreadableNewsError

LONGEST_PAUSE = 3600.0
"""Seconds. A mistaken Retry-After must not put an order to sleep for years."""

PAGE = 1000
"""Payments in one page of the books; the sandbox gives no more."""

Amount = Annotated[int, Field(ge=0)]
M = TypeVar("M", bound=BaseModel)


class Answer(BaseModel):
    """A payment as the sandbox answers it; nothing is converted, or nonsense would pass for money."""

    model_config = ConfigDict(strict=True)

    id: str
    status: PaymentStatus
    amount: Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    captured_amount: Amount
    refunded_amount: Amount

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.refunded_amount <= self.captured_amount <= self.amount:
            raise ValueError("more refunded than captured, or more captured than there was")
        if self.status is PaymentStatus.REFUNDED and self.refunded_amount != self.captured_amount:
            raise ValueError("refunded, and not all that was captured")
        return self


class Operation(BaseModel):
    at: AwareDatetime


class Entry(Answer):
    """A payment in the books, with what has changed it."""

    created_at: AwareDatetime
    operations: Sequence[Operation]

    @property
    def changed_at(self) -> datetime:
        return max([self.created_at, *(operation.at for operation in self.operations)])


class Page(BaseModel):
    payments: Sequence[Entry]
    next_after: str | None


class Answered(NamedTuple):
    """What the provider answered to which call."""

    call: str
    status: int
    content: bytes
    retry_after: str | None

    def __str__(self) -> str:
        return f"sandbox: {self.call} answered {self.status} {printable(self.content[:200].decode(errors='replace'))}"


class SandboxPayments:
    """`PaymentProvider` and `PaymentBooks` over one connection pool. To be made where an event loop runs."""

    name = "sandbox"

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        # The sandbox is a neighbour: no proxy from the environment comes between (`trust_env` is off by default), and
        # nothing is packed. How many calls there are at once is bounded by those who call.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # one deadline for everything, see `_ask`
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def find(self, payment_id: str, *, timeout: float) -> Payment | None:
        return await self._find(payment_id, _in(timeout))

    async def capture(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        return await self._change("capture", payment_id, key, _in(timeout))

    async def refund(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        return await self._change("refund", payment_id, key, _in(timeout))

    async def payments(self, *, timeout: float) -> AsyncIterator[Sequence[ListedPayment]]:
        after: str | None = None
        while True:
            page = await self._page(after, timeout)
            yield [ListedPayment(self._payment(entry), entry.changed_at) for entry in page.payments]
            if page.next_after is None:
                return
            after = page.next_after

    # Thousands of pages must not begin anew for one that failed.
    @stamina.retry(on=Outage, attempts=5, timeout=None)
    async def _page(self, after: str | None, timeout: float) -> Page:
        query = {"limit": PAGE} | ({"after": after} if after else {})
        answered = await self._ask(HTTPMethod.GET, f"/payments?{urlencode(query)}", _in(timeout))
        page = _read(Page, answered, "page of payments")
        if page.next_after is not None and page.next_after == after:
            raise UnexpectedAnswer(f"{answered}; that page leads to itself")
        return page

    async def _change(self, operation: str, payment_id: str, key: str, deadline: float) -> Payment:
        answered = await self._ask(
            HTTPMethod.POST, f"{_path(payment_id)}/{operation}", deadline, {"Idempotency-Key": key}
        )
        if answered.status == HTTPStatus.CONFLICT:
            payment = await self._find(payment_id, deadline)
            if payment is None:
                raise UnexpectedAnswer(f"{answered}; then there was no such payment")
            return payment
        return self._answer(answered, payment_id)

    async def _find(self, payment_id: str, deadline: float) -> Payment | None:
        answered = await self._ask(HTTPMethod.GET, _path(payment_id), deadline)
        # A 404 from anybody else, a proxy or another program at this address, is no word about the payment.
        if answered.status == HTTPStatus.NOT_FOUND and b'"payment_not_found"' in answered.content:
            return None
        return self._answer(answered, payment_id)

    async def _ask(
        self, method: HTTPMethod, path: str, deadline: float, headers: dict[str, str] | None = None
    ) -> Answered:
        call = f"{method} {path}"
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._session.request(
                    method, URL(self._base_url + path, encoded=True), headers=headers, allow_redirects=False
                ) as answer,
            ):
                content = await answer.read()
        except TimeoutError as error:
            raise Outage(f"sandbox: {call} was not answered in time", for_all="sandbox is too slow") from error
        except (aiohttp.ClientError, OSError) as error:
            # What is no HTTP is quoted by the library as Python's bytes.
            nonsense = isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError)
            said = "what it answered is no HTTP" if nonsense else repr(error)
            raise Outage(f"sandbox: {call} failed: {said}", for_all="sandbox cannot be reached") from error
        answered = Answered(call, answer.status, content, answer.headers.get("Retry-After"))
        if answered.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answered.status == HTTPStatus.TOO_MANY_REQUESTS:
            said = f"sandbox answered {answered.status}"
            raise Outage(f"{answered}", for_all=said, retry_after=_retry_after(answered.retry_after))
        return answered

    def _answer(self, answered: Answered, payment_id: str) -> Payment:
        answer = _read(Answer, answered, "payment")
        if answer.id != payment_id:
            raise UnexpectedAnswer(f"{answered}; that is another payment")
        return self._payment(answer)

    def _payment(self, answer: Answer) -> Payment:
        amounts = {name: getattr(answer, name) for name in Answer.model_fields if name != "id"}
        return Payment(provider=self.name, payment_id=answer.id, **amounts)


def _read(model: type[M], answered: Answered, what: str) -> M:
    if answered.status != HTTPStatus.OK:
        raise UnexpectedAnswer(f"{answered}")
    try:
        return model.model_validate_json(answered.content)
    except ValidationError as error:
        raise UnexpectedAnswer(f"{answered}; that is no {what}") from error


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _path(payment_id: str) -> str:
    return f"/payments/{quote(payment_id, safe='')}"


def _retry_after(header: str | None) -> float | None:
    """Seconds, from seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    try:
        seconds = float(int(header)) if header.isdecimal() else _seconds_until(parsedate_to_datetime(header))
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def _seconds_until(then: datetime) -> float:
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


# ---- webhooks ----------------------------------------------------------------------------------------------------


class NoticeData(BaseModel):
    payment_id: Identifier
    status: object = None


class Notice(BaseModel):
    """What is read of a webhook and its headers; the rest is only stored, as it came."""

    id: Identifier
    data: NoticeData


class SandboxWebhooks:
    """Signed as Standard Webhooks says. `secret` begins with `whsec_`."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)

    def verify(self, headers: Mapping[str, str], body: bytes) -> PaymentNews:
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:  # ValueError: the library's own parsing of nonsense
            raise NotGenuineError(str(error)) from error
        try:
            # Python's reader, which takes what is none of ours (half a surrogate pair, 1e400) for what it is.
            notice = Notice.model_validate({**json.loads(body), "id": headers["webhook-id"]})
        except (ValueError, TypeError, RecursionError) as error:
            raise UnreadableNewsError("Send a JSON object with data.payment_id") from error
        said = notice.data.status
        status = PaymentStatus(said) if isinstance(said, str) and said in {*PaymentStatus} else None
        return PaymentNews(notice.id, notice.data.payment_id, status)


# ---- chosen by `sandbox` in LANKA_PAYMENTS -----------------------------------------------------------------------

NEIGHBOUR = "http://127.0.0.1:8090"
"""Where it is if nobody says."""


def provider(settings: PaymentSettings) -> SandboxPayments:
    return SandboxPayments(settings.payments_url or NEIGHBOUR)


def webhooks(settings: PaymentSettings) -> SandboxWebhooks | None:
    """Without a secret nobody can be believed."""
    return SandboxWebhooks(settings.webhook_secret) if settings.webhook_secret else None
