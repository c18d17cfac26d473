"""docs/asyncapi.json is what the models say, is AsyncAPI 3.0, and describes the events that are really made."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, ValidationError
from pydantic import ValidationError as InvalidDocumentError
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

import orders.events
import support.events
from chain.event import Event, type_of
from chain.subject import Parked, Released, Withdrawn
from lanka.asyncapi import document
from lanka.commands import app
from support.events import CallerWaiting, OperatorAssigned, SupportCallEnded, SupportCallStarted
from tests.unit.test_envelope import EVENTS, made
from tests.unit.twins import NOW
from workflows.chains import CHAINS

with warnings.catch_warnings():  # two of its fields are called like methods of pydantic
    warnings.simplefilter("ignore", UserWarning)
    from asyncapi3 import AsyncAPI3  # type: ignore[import-untyped]

WRITTEN = Path(__file__).parents[2] / "docs" / "asyncapi.json"
CALLER = {"customer_id": "cus_42", "language": "uk", "skill": "orders"}
OF_ANY_CHAIN: tuple[type[Event[Any]], ...] = (Parked, Released, Withdrawn)
REAL: list[Event[Any]] = [
    *(made(kind) for kind in (*EVENTS, *OF_ANY_CHAIN)),
    SupportCallStarted.made_by("intake", "call_1", NOW, CALLER),
    CallerWaiting.made_by("assign", "call_1", NOW, CALLER),
    OperatorAssigned.made_by("waiting", "call_1", NOW, {"operator_id": "ann"}),
    SupportCallEnded.made_by("intake", "call_1", NOW, {}),
]


def validate(event: dict[str, Any], event_type: str) -> None:
    """As a reader of the document would: by the message of that type, and its schema."""
    told = document()["components"]
    (message,) = (message for message in told["messages"].values() if message["name"] == event_type)
    Draft7Validator({**message["payload"], "components": told}).validate(event)


def test_what_is_written_is_what_the_models_say() -> None:
    assert WRITTEN.read_text() == CliRunner().invoke(app, ["asyncapi"]).stdout


def test_it_is_an_asyncapi_document() -> None:
    AsyncAPI3.model_validate(document())


@pytest.mark.parametrize(
    "change",
    [
        {"operations": {"post_events": {"action": "take", "channel": {"$ref": "#/channels/events"}}}},
        {"operations": {"post_events": {"action": "receive"}}},
        {"chanels": {}},
        {"info": {"title": "Lanka"}},
    ],
    ids=["no such action", "no channel", "no such field", "no version"],
)
def test_what_is_no_asyncapi_document_is_noticed(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocumentError):
        AsyncAPI3.model_validate(document() | change)


def test_every_reference_leads_somewhere() -> None:
    told = document()

    def follow(there: Any) -> None:
        if isinstance(there, list):
            for each in there:
                follow(each)
        elif isinstance(there, dict):
            if "$ref" in there:
                found = told
                for step in there["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for each in there.values():
                follow(each)

    follow(told)


def test_every_event_has_a_message() -> None:
    names = {message["name"] for message in document()["components"]["messages"].values()}
    defined = {
        kind
        for module in (orders.events, support.events)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Event)
        and kind.model_fields["type"].default is not PydanticUndefined
    }

    assert defined | {*OF_ANY_CHAIN} == {type(event) for event in REAL}
    assert names >= {type_of(kind) for kind in defined}


def test_every_link_is_an_operation_on_its_task_queue() -> None:
    told = document()

    for name, chain in CHAINS.items():
        for link in chain.table.links:
            operation = told["operations"][f"{name}_{link.name.replace('-', '_')}"]
            assert operation["channel"] == {"$ref": f"#/channels/queue_{link.queue}"}
            replies = [message["$ref"].rpartition("/")[2] for message in operation.get("reply", {}).get("messages", [])]
            assert replies == [kind.__name__ for kind in link.makes]


def test_what_may_be_posted_is_what_the_chains_accept() -> None:
    accepted = {kind.__name__ for chain in CHAINS.values() for kind in chain.accepts}

    assert set(document()["channels"]["events"]["messages"]) == accepted


def test_every_schema_is_a_schema() -> None:
    schemas = document()["components"]["schemas"]

    assert len(schemas) > len(REAL)
    for schema in schemas.values():
        Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("event", REAL, ids=lambda event: type(event).__name__)
def test_a_real_event_is_what_the_document_says(event: Event[Any]) -> None:
    validate(event.model_dump(mode="json"), event.type)


@pytest.mark.parametrize("field", Event.model_fields)
def test_an_event_without_a_part_of_its_envelope_is_not(field: str) -> None:
    event = REAL[0].model_dump(mode="json", exclude={field})

    with pytest.raises(ValidationError, match=f"'{field}' is a required property"):
        validate(event, REAL[0].type)
