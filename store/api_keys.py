"""API keys: who may do what. Only hashes are stored."""

import hashlib
from enum import StrEnum
from typing import NamedTuple

from store.database import Store


class Scope(StrEnum):
    """A customer has a session and sees its own orders; a shop submits and reads; an operator may do everything."""

    CUSTOMER = "customer"
    SHOP = "shop"
    OPERATOR = "operator"


class Key(NamedTuple):
    """`id` is public: it was drawn by lot and tells nothing of the key."""

    id: str
    scope: Scope


def hash_of(key: str) -> bytes:
    """SHA-256. The keys are long and random, so neither salt nor a slow hash is needed."""
    return hashlib.sha256(key.encode()).digest()


class ApiKeys(Store):
    async def create(self, key: str, scope: Scope) -> None:
        """Stores a key. One that is there already stays as it is, revoked or not."""
        await self._fetch(
            "INSERT INTO api_keys (hash, scope) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING", hash_of(key), scope
        )

    async def find(self, key_hash: bytes) -> Key | None:
        """None for a key that is unknown or revoked."""
        row = await self._first("SELECT id, scope FROM api_keys WHERE hash = $1 AND revoked_at IS NULL", key_hash)
        return Key(row["id"], Scope(row["scope"])) if row else None
