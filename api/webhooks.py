"""Webhooks of payment providers: verified by the provider's adapter, stored before they are answered.

A webhook is only a hint that there is news of a payment; the consumers ask the provider what is true.
"""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from api.body import read_body
from api.problems import Code, Problem, documented
from dispatch.dispatcher import Wakeup
from orders.ports import NotGenuineError, PaymentWebhooks, UnreadableNewsError
from store.webhooks import Webhooks

router = APIRouter(tags=["webhooks"])


@router.post(
    "/webhooks/{provider}",
    status_code=204,
    response_class=Response,
    response_description="Stored; the same webhook may be sent again.",
    responses=documented(
        Code.WEBHOOK_SIGNATURE_INVALID,
        Code.WEBHOOK_UNREADABLE,
        Code.PROVIDER_NOT_FOUND,
        Code.BODY_TOO_LARGE,
        Code.UNSUPPORTED_MEDIA_TYPE,
        Code.DATABASE_UNAVAILABLE,
    ),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {}}}},
)
async def take_webhook(request: Request, provider: str) -> None:
    known: Mapping[str, PaymentWebhooks] = request.state.payment_webhooks
    webhooks: Webhooks = request.state.webhooks
    wakeup: Wakeup = request.state.wakeup
    if provider not in known:
        raise Problem(Code.PROVIDER_NOT_FOUND)
    try:
        news = known[provider].verify(dict(request.headers), await read_body(request))
    except NotGenuineError:
        raise Problem(Code.WEBHOOK_SIGNATURE_INVALID) from None
    except UnreadableNewsError as error:
        raise Problem(Code.WEBHOOK_UNREADABLE, f"{error}.") from None
    await webhooks.keep(provider, news.webhook_id, news.payment_id, news.payload)
    wakeup.wake()
