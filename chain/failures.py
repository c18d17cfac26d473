"""What can go wrong, drawn once. A business "no" is not here: that is an event (see `orders.words`)."""


class LankaError(Exception):
    """Everything Lanka raises on purpose."""


class Failure(LankaError):
    """Something that may succeed if it is tried again."""


class Outage(Failure):
    """A dependency is away, slow or overloaded: waits and is retried without end.

    `retry_after` is what the dependency asked for, in seconds.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fault(Failure):
    """Anything unexpected: tried a few times, then parked."""


class UnexpectedAnswer(Fault):
    """A dependency's answer makes no sense."""


class UnreadableEvent(Fault):
    """An event's data is not what its type promises."""
