"""An order's link: whoever has it may read this one order on any device, and nothing else."""

import base64
import hmac
import json

SIGNATURE_BYTES = 16
"""Of the HMAC-SHA256; RFC 2104 lets half of it stand for the whole, and the link stays short."""


class OrderLinks:
    """Signed with `secret`; without one there are no links."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret.encode() if secret else None

    def page(self, order_id: str) -> str | None:
        """The address of the order on the shop's page. What follows the # is sent to no server and no other page."""
        signature = self._signature(order_id)
        return f"/#order-{order_id}?signature={signature}" if signature else None

    def allow(self, order_id: str, signature: str) -> bool:
        expected = self._signature(order_id)
        return expected is not None and hmac.compare_digest(expected.encode(), signature.encode())

    def _signature(self, order_id: str) -> str | None:
        if self._secret is None:
            return None
        signed = json.dumps(["read order", order_id])  # a list, so that nothing that joins it later can be mistaken
        digest = hmac.digest(self._secret, signed.encode(), "sha256")[:SIGNATURE_BYTES]
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
