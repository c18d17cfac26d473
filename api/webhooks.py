"""Webhooks of payment providers: verified by the provider's adapter, stored before they are answered.

A webhook is only a hint that there is news of a payment; the consumers ask the provider what is true.
"""

from fastapi import APIRouter, Request, Response

from api.body import JSON, read_body
from api.problems import Code, Problem, raises
from api.shared import Here
from orders.ports import NotGenuineError, UnreadableNewsError

router = APIRouter(tags=["webhooks"])


_SIGNED = [
    {"name": f"webhook-{name}", "in": "header", "required": True, "schema": {"type": "string"}}
    for name in ("id", "timestamp", "signature")
]


@router.post(
    "/webhooks/{provider}",
    status_code=204,
    response_class=Response,
    response_description="Stored; the same webhook may be sent again.",
    openapi_extra={"parameters": _SIGNED, "requestBody": {"required": True, "content": {JSON: {}}}},
)
@raises(Code.WEBHOOK_SIGNATURE_INVALID, Code.WEBHOOK_UNREADABLE, Code.PROVIDER_NOT_FOUND, Code.DATABASE_UNAVAILABLE)
@raises(Code.BODY_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.EVENT_ID_REUSED)
async def take_webhook(request: Request, here: Here, provider: str) -> None:
    """News of a payment, signed as Standard Webhooks says.

    `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`, by the
    secret behind `whsec_` (base64). The timestamp (Unix seconds) is at most five minutes from now. The body is
    `{"type":"payment.captured","timestamp":"...","data":{"payment_id":"pay_...","status":"captured"}}`.
    """
    webhooks = here.payment_webhooks.get(provider)
    if webhooks is None:
        raise Problem(Code.PROVIDER_NOT_FOUND)
    try:
        body = await read_body(request)
        news = webhooks.verify(dict(request.headers), body)
    except NotGenuineError:
        raise Problem(Code.WEBHOOK_SIGNATURE_INVALID) from None
    except UnreadableNewsError as error:
        raise Problem(Code.WEBHOOK_UNREADABLE, f"{error}.") from None
    if not await here.webhooks.keep(provider, news, body):
        raise Problem(Code.EVENT_ID_REUSED)
    here.wakeup.wake()
