"""What can go wrong, drawn once. A business "no" is not here: that is an event (see `orders.words`)."""


class LankaError(Exception):
    """Everything Lanka raises on purpose."""


class Failure(LankaError):
    """Something that may succeed if it is tried again.

    `for_all`: what may be said of it to all that travel in the same batch, as it names none of them.
    """

    def __init__(self, message: str, *, for_all: str | None = None) -> None:
        super().__init__(message)
        self.for_all = for_all


class Outage(Failure):
    """A dependency is away, slow or overloaded: waits and is retried without end.

    `retry_after` is what the dependency asked for, in seconds.
    """

    def __init__(self, message: str, *, for_all: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, for_all=for_all)
        self.retry_after = retry_after


class Unmigrated(Outage):
    """The database lacks what this code needs: it waits for `lanka migrate`."""


class Fault(Failure):
    """Anything unexpected: tried a few times, then parked."""


class UnexpectedAnswer(Fault):
    """A dependency's answer makes no sense."""


class UnreadableEvent(Fault):
    """An event's data is not what its type promises."""
