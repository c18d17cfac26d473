"""A chain that the pages have never heard of, brought by LANKA_CHAINS: three links side by side, and a way back."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from activities.consume import Journal, consume
    from activities.note_events import NoteEvents
    from chain.batch import Batch, Processed, Work
    from chain.event import AnyEvent, Event, Kind
    from chain.subject import Data
    from chain.subject import Withdrawal as WithdrawalData
    from chain.table import Join, Link, Table, route, way_back
    from chain.words import LinkWords, Text, Words
    from workflows.chain import Chain
    from workflows.chain_workflow import ChainWorkflow


class Bouquet(Data):
    ribbon: str


class Picked(Event[Bouquet]):
    kind: ClassVar = Kind.START
    type: Literal["bouquets.Picked"] = "bouquets.Picked"


class Cut(Event[Bouquet]):
    type: Literal["bouquets.Cut"] = "bouquets.Cut"


class Tied(Event[Bouquet]):
    type: Literal["bouquets.Tied"] = "bouquets.Tied"


class Watered(Event[Bouquet]):
    type: Literal["bouquets.Watered"] = "bouquets.Watered"


class CardWritten(Event[Bouquet]):
    type: Literal["bouquets.CardWritten"] = "bouquets.CardWritten"


class Finished(Event[Bouquet]):
    type: Literal["bouquets.Finished"] = "bouquets.Finished"


class Handed(Event[Bouquet]):
    kind: ClassVar = Kind.END
    status: ClassVar = "handed"
    type: Literal["bouquets.Handed"] = "bouquets.Handed"


class Untied(Event[Bouquet]):
    type: Literal["bouquets.Untied"] = "bouquets.Untied"


class Composted(Event[Bouquet]):
    kind: ClassVar = Kind.END
    status: ClassVar = "composted"
    type: Literal["bouquets.Composted"] = "bouquets.Composted"


class TakenBack(Event[WithdrawalData]):
    kind: ClassVar = Kind.WITHDRAWAL
    type: Literal["bouquets.TakenBack"] = "bouquets.TakenBack"


class Florist:
    """At work at every link; a ribbon that is torn is nothing that she has expected."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @activity.defn
    async def arrange(self, batch: Batch) -> Processed:
        async def decide(work: Work, events: Sequence[AnyEvent]) -> list[Event[Bouquet]]:
            if batch.link == "tie" and any(event.data.get("ribbon") == "torn" for event in events):
                raise ValueError("the ribbon is torn")
            made = TABLE.by_name[batch.link].makes[0]
            return [work.made(made, event, Bouquet(ribbon=event.data.get("ribbon", "none"))) for event in events]

        return await consume(self._journal, batch, AnyEvent, decide)


def link(name: str, makes: type[Event[Bouquet]], undoes: str | None = None) -> Link:
    return Link(name, Florist.arrange, queue="bouquets", makes=(makes,), undoes=undoes)


TABLE = Table(
    starts=Picked,
    routes={
        Picked: route(link("cut", Cut)),
        Cut: route(
            (link("tie", Tied), link("water", Watered), link("card", CardWritten)), join=Join("arranged", into=Finished)
        ),
        Finished: route(link("hand-over", Handed)),
    },
    back=way_back(link("untie", Untied, undoes="tie"), link("compost", Composted)),
    withdrawn=TakenBack,
    note=Link("note", NoteEvents.note_events, queue="bouquets", makes=()),
    words=Words(
        title=Text("Bouquets", "Букети"),
        subject=Text("bouquet", "букет"),
        subjects=Text("bouquets", "букети"),
        links={
            "cut": LinkWords(Text("Cut the flowers", "Зрізати квіти")),
            "tie": LinkWords(Text("Tie the ribbon", "Завʼязати стрічку")),
            "water": LinkWords(Text("Water", "Полити")),
            "card": LinkWords(Text("Write the card", "Написати листівку")),
        },
        statuses={"handed": Text("Handed over", "Передано"), "composted": Text("Composted", "Компостовано")},
    ),
)


@workflow.defn
class ABouquet(ChainWorkflow):
    table = TABLE

    @workflow.run
    async def run(self, version: int = 1) -> None:
        await self.until_done()


CHAIN = Chain("bouquets", workflow=ABouquet, accepts=(Picked,), alone="bouquet")


class Parts(Protocol):
    @property
    def journal(self) -> Journal: ...


def consumers(parts: Parts) -> Sequence[object]:
    return [Florist(parts.journal)]
