"""Sessions of people at a browser. Only hashes of their cookies are stored."""

from datetime import timedelta
from typing import NamedTuple

from store.api_keys import Scope, hash_of
from store.database import Store


class Session(NamedTuple):
    """A customer's has a `customer_id`, an operator's the id of the API key that began it."""

    scope: Scope
    customer_id: str | None
    key_id: str | None


class Sessions(Store):
    async def begin_for_customer(self, token: str, customer_id: str, lifetime: timedelta) -> None:
        await self._begin(token, customer_id, None, lifetime)

    async def begin_for_operator(self, token: str, key: str, lifetime: timedelta) -> None:
        """`key` is the operator's API key, and known; the session ends with it."""
        await self._begin(token, None, hash_of(key), lifetime)

    async def end(self, token: str) -> None:
        await self._fetch("DELETE FROM sessions WHERE hash = $1", hash_of(token))

    async def find(self, token_hash: bytes) -> Session | None:
        """None for a session that is unknown, over, or of an operator whose key is revoked."""
        row = await self._first(
            """
            SELECT customer_id, scope, api_keys.id AS key_id
            FROM sessions LEFT JOIN api_keys ON api_keys.hash = key_hash
            WHERE sessions.hash = $1 AND expires_at > now() AND revoked_at IS NULL
            """,
            token_hash,
        )
        return Session(Scope(row["scope"] or Scope.CUSTOMER), row["customer_id"], row["key_id"]) if row else None

    async def _begin(self, token: str, customer_id: str | None, key_hash: bytes | None, lifetime: timedelta) -> None:
        await self._fetch(
            """
            WITH over AS (DELETE FROM sessions WHERE expires_at < now())
            INSERT INTO sessions (hash, customer_id, key_hash, expires_at) VALUES ($1, $2, $3, now() + $4)
            """,
            hash_of(token),
            customer_id,
            key_hash,
            lifetime,
        )
