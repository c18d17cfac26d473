"""Webhooks of payment providers: signed as Standard Webhooks says, stored before they are answered.

A webhook is only a hint that there is news of a payment; the consumers ask the provider what is true.
"""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from api.body import documented_body, parsed, read_body
from api.problems import Code, Problem, documented, flawed, in_body
from dispatch.dispatcher import Wakeup
from orders.order import Identifier
from store.webhooks import Webhooks


class News(BaseModel):
    model_config = ConfigDict(extra="ignore")

    payment_id: Identifier


class Notice(BaseModel):
    """What we read of a provider's webhook; the rest is stored beside it."""

    model_config = ConfigDict(extra="ignore")

    data: News


def signatures(secret: str | None) -> Mapping[str, Webhook]:
    """How each provider signs. Without a secret nobody can be believed."""
    return {"sandbox": Webhook(secret)} if secret else {}


router = APIRouter(tags=["webhooks"])


@router.post(
    "/webhooks/{provider}",
    status_code=204,
    response_class=Response,
    response_description="Stored; the same webhook may be sent again.",
    responses=documented(
        Code.MALFORMED_JSON,
        Code.WEBHOOK_SIGNATURE_INVALID,
        Code.PROVIDER_NOT_FOUND,
        Code.BODY_TOO_LARGE,
        Code.UNSUPPORTED_MEDIA_TYPE,
        Code.MISSING_FIELD,
        Code.REPEATED_FIELD,
        Code.NOT_AN_OBJECT,
        Code.NOT_A_STRING,
        Code.INVALID_ID,
        Code.DATABASE_UNAVAILABLE,
    ),
    openapi_extra=documented_body(Notice),
)
async def take_webhook(request: Request, provider: str) -> None:
    known: Mapping[str, Webhook] = request.state.signatures
    webhooks: Webhooks = request.state.webhooks
    wakeup: Wakeup = request.state.wakeup
    if provider not in known:
        raise Problem(Code.PROVIDER_NOT_FOUND)
    body = await read_body(request)
    _verify(known[provider], body, request)
    payload = parsed(body)
    try:
        notice = Notice.model_validate(payload)
    except ValidationError as error:
        raise flawed(in_body(error.errors(include_url=False, include_context=False, include_input=False))) from None
    await webhooks.keep(provider, request.headers["webhook-id"], notice.data.payment_id, payload)
    wakeup.ring()


def _verify(webhook: Webhook, body: bytes, request: Request) -> None:
    try:
        webhook.verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: the library's own parsing of a nonsensical signature
        raise Problem(Code.WEBHOOK_SIGNATURE_INVALID) from None
