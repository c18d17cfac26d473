"""TCP ports of this machine. Only 127.0.0.1 is ever used."""

import random
import socket
from collections.abc import Container

HOST = "127.0.0.1"


def free_port(other_than: Container[int] = ()) -> int:
    """A port that nobody listens on right now.

    Below those that the system gives to outgoing connections: a client that keeps trying to reach a server
    that is being started again could otherwise end up on the server's port, connected to itself.
    """
    drawn = iter(lambda: random.randrange(10_000, 32_000), None)  # noqa: S311
    return next(port for port in drawn if port not in other_than and is_free(port))


def is_free(port: int) -> bool:
    return why_not(port) is None


def why_not(port: int) -> OSError | None:
    """What keeps us from listening there."""
    with socket.socket() as probe:
        # Without it, connections closed a minute ago would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
        return None
