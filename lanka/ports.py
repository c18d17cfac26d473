"""TCP ports of this machine. Only 127.0.0.1 is ever used."""

import random
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on right now.

    Below those that the system gives to outgoing connections: a client that keeps trying to reach a server
    that is being started again could otherwise end up on the server's port, connected to itself.
    """
    return next(port for port in iter(lambda: random.randrange(10_000, 32_000), None) if is_free(port))  # noqa: S311


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without it, connections closed a minute ago would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
