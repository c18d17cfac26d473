"""An order as it is known from outside: what was ordered, and where it stands."""

from pydantic import AwareDatetime, BaseModel

from orders.order import Line
from orders.words import Status


class KnownOrder(BaseModel, frozen=True):
    """An accepted order and where it stands now. `total` is in minor units of `currency`.

    `links_at`: the links where it stands, none after the end; `received` while it is accepted and not dispatched.
    `link`: the first of them, after the end the one that decided; `stage` is its task queue. `reason`: why it goes or
    went back.
    """

    order_id: str
    order_number: str | None
    status: Status
    links_at: tuple[str, ...]
    link: str | None
    stage: str | None
    reason: str | None
    customer_id: str
    payment_id: str
    currency: str
    lines: tuple[Line, ...]
    total: int
    received_at: AwareDatetime
    updated_at: AwareDatetime
