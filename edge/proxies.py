"""Who a client is, where a proxy stands before us."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

MAX_ADDRESS = 60

Headers = Sequence[tuple[bytes, bytes]]


class Proxies:
    """The proxies that are believed. They append to X-Forwarded-For whom they have it from, so the last one that they
    do not know as one of theirs is the client; what stands before it was written by the client.
    """

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = networks
        self.trust = lru_cache(4096)(self._trust) if networks else lambda _: False

    def _trust(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)

    def client(self, headers: Headers) -> str | None:
        """The client that a trusted proxy names; None if it names none."""
        named = None
        for hop in reversed(_values(headers, b"x-forwarded-for")):
            named = _address(hop)
            if named is None or not self.trust(named):
                break
        return named

    @staticmethod
    def scheme(headers: Headers) -> str | None:
        named = _values(headers, b"x-forwarded-proto")[-1:]
        return named[0] if named and named[0] in {"http", "https"} else None

    @staticmethod
    def host(headers: Headers) -> bytes | None:
        named = _values(headers, b"x-forwarded-host")[-1:]
        return named[0].encode() if named else None


@lru_cache(4096)
def counted_as(address: str) -> str:
    """By what an address is counted: who has one of IPv6 has all of its /64."""
    if ":" not in address:
        return address
    try:
        parsed: Any = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))


def _values(headers: Headers, wanted: bytes) -> list[str]:
    lists = [value.decode("latin-1").split(",") for name, value in headers if name == wanted]
    return [value.strip() for values in lists for value in values if value.strip()]


def _address(hop: str) -> str | None:
    """Of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    if len(hop) > MAX_ADDRESS:
        return None
    bare = hop[1:].partition("]")[0] if hop.startswith("[") else hop.partition(":")[0] if hop.count(":") == 1 else hop
    try:
        return str(ip_address(bare))
    except ValueError:
        return None
