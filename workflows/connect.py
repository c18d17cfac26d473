"""The way to Temporal, the same for those who start workflows and for those who run them."""

from collections.abc import Sequence

import stamina
from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
"""What is answered while the server is away; anything else it has said itself."""


@stamina.retry(on=(RuntimeError, RPCError), attempts=None, timeout=None, wait_max=5.0)
async def connect(interceptors: Sequence[Interceptor] = ()) -> Client:
    """Waits for the server."""
    return await connect_once(interceptors)


async def connect_once(interceptors: Sequence[Interceptor] = (), *, address: str | None = None) -> Client:
    """A client as the platform's own settings say (`TEMPORAL_ADDRESS`, ...); with an `address`, of that one alone.

    Raises `RuntimeError` and `RPCError`.
    """
    config = ClientConfig.load_client_connect_config() if address is None else ClientConnectConfig(target_host=address)
    config.setdefault("target_host", "127.0.0.1:7233")
    return await Client.connect(
        **config,
        data_converter=pydantic_data_converter,
        interceptors=interceptors,
        # The SDK packs each message by default: a fifth of the CPU of an order alone, here and at the server.
        grpc_compression=GrpcCompression.NONE,
    )
