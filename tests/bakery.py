"""An invented chain, to try what the chain of an order does not have: a loaf is weighed, kneaded, baked and sold.

Three stages of one route; two links side by side, one of which is newer; a pending one; a late one; one for each event.
"""

from datetime import timedelta
from typing import ClassVar, Literal

from temporalio import activity

from chain.batch import Batch, Processed
from chain.event import Event, Kind
from chain.subject import Data, Withdrawal
from chain.table import Link, Table, route, way_back


class Loaf(Data):
    reason: str | None = None


class Ordered(Event[Loaf]):
    kind: ClassVar = Kind.START
    type: Literal["bakery.Ordered"] = "bakery.Ordered"


class Weighed(Event[Loaf]):
    type: Literal["bakery.Weighed"] = "bakery.Weighed"


class Spoiled(Event[Loaf]):
    kind: ClassVar = Kind.REFUSAL
    type: Literal["bakery.Spoiled"] = "bakery.Spoiled"


class Kneaded(Event[Loaf]):
    type: Literal["bakery.Kneaded"] = "bakery.Kneaded"


class Torn(Event[Loaf]):
    kind: ClassVar = Kind.REFUSAL
    type: Literal["bakery.Torn"] = "bakery.Torn"


class Heated(Event[Loaf]):
    type: Literal["bakery.Heated"] = "bakery.Heated"


class Cold(Event[Loaf]):
    kind: ClassVar = Kind.REFUSAL
    type: Literal["bakery.Cold"] = "bakery.Cold"


class Baked(Event[Loaf]):
    type: Literal["bakery.Baked"] = "bakery.Baked"


class Rising(Event[Loaf]):
    kind: ClassVar = Kind.PENDING
    type: Literal["bakery.Rising"] = "bakery.Rising"


class Sold(Event[Loaf]):
    kind: ClassVar = Kind.END
    status: ClassVar = "sold"
    type: Literal["bakery.Sold"] = "bakery.Sold"


class Cleaned(Event[Loaf]):
    type: Literal["bakery.Cleaned"] = "bakery.Cleaned"


class WrittenOff(Event[Loaf]):
    kind: ClassVar = Kind.END
    status: ClassVar = "written_off"
    type: Literal["bakery.WrittenOff"] = "bakery.WrittenOff"


class TakenBack(Event[Withdrawal]):
    kind: ClassVar = Kind.WITHDRAWAL
    type: Literal["bakery.TakenBack"] = "bakery.TakenBack"


class Complained(Event[Loaf]):
    kind: ClassVar = Kind.LATE
    type: Literal["bakery.Complained"] = "bakery.Complained"


class Tasted(Event[Loaf]):
    type: Literal["bakery.Tasted"] = "bakery.Tasted"


class Baker:
    """At work at every link; a test puts a twin with the same names in its place."""

    @activity.defn
    async def bake(self, batch: Batch) -> Processed:
        raise NotImplementedError

    @activity.defn
    async def note_events(self, batch: Batch) -> Processed:
        raise NotImplementedError


def link(name: str, *makes: type[Event[Loaf]], **rest: object) -> Link:
    return Link(name, Baker.bake, queue="bakery", makes=makes, **rest)  # type: ignore[arg-type]


WEIGH = link("weigh", Weighed, Spoiled)
KNEAD = link("knead", Kneaded, Torn)
HEAT = link("heat", Heated, Cold, since=2)
BAKE = link("bake", Baked, Rising)
WATCH = link("watch", Baked, asks_again=timedelta(seconds=15))
SELL = link("sell", Sold)
CLEAN = link("clean", Cleaned, undoes="knead")
WRITE_OFF = link("write-off", WrittenOff)
REPAY = link("repay", refunds=True)
TASTE = link("taste", once="event")

TABLE = Table(
    starts=Ordered,
    routes={
        Ordered: route(WEIGH, (KNEAD, HEAT), BAKE),
        Rising: route(WATCH),
        Baked: route(SELL, too_late=True),
        Complained: way_back(REPAY),
        Tasted: route(TASTE),
    },
    back=way_back(CLEAN, WRITE_OFF),
    withdrawn=TakenBack,
    note=Link("note", Baker.note_events, queue="bakery", makes=()),
)
