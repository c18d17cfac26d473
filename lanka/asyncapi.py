"""The AsyncAPI 3.0 document of all events and channels, made from the tables and the models.

Source of the form: the AsyncAPI specification 3.0.0.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from inspect import getdoc
from typing import Any

from pydantic.json_schema import models_json_schema

from chain.event import Event, type_of
from chain.table import Link
from workflows.chain import Chain
from workflows.chains import CHAINS

EventType = type[Event[Any]]


def document() -> dict[str, Any]:
    """Each message is a CloudEvent; `#/components/schemas/<event>` is the JSON Schema of its whole envelope."""
    events = _distinct(event for chain in CHAINS.values() for event in (*chain.table.events, *chain.accepts))
    outside = _distinct(event for chain in CHAINS.values() for event in chain.accepts)
    taken = _taken(CHAINS)
    _, schemas = models_json_schema(
        [(event, "serialization") for event in events], ref_template="#/components/schemas/{model}"
    )
    for event in events:  # a default saves our code writing it, not a producer
        schemas["$defs"][event.__name__]["required"] = list(event.model_fields)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lanka",
            "version": version("lanka"),
            "description": "Chains of events: what comes in, which consumer takes it, and what is journalled.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            "events": _channel("/events", "HTTP: one CloudEvent, structured or binary, or a batch.", outside),
            "event_outbox": _channel("event_outbox", "The table into which an application inserts events.", outside),
            "journal": _channel("journal", "The append-only table of all events of all subjects.", events),
            **{
                f"queue_{queue}": _channel(
                    queue,
                    "A task queue of Temporal. Events of one type travel in batches, each in the `events` of a Batch.",
                    _distinct(event for at, _, given in taken if at.queue == queue for event in given),
                )
                for queue in sorted({link.queue for link, _, _ in taken})
            },
        },
        "operations": {
            "post_events": {
                **_operation("receive", "events", outside),
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            },
            "take_from_outbox": _operation("receive", "event_outbox", outside),
            "journal_events": _operation("send", "journal", events),
            **{name: _consumption(link, given) for link, name, given in taken},
        },
        "components": {
            "messages": {event.__name__: _message(event) for event in events},
            "schemas": schemas["$defs"],
        },
    }


def _taken(chains: Mapping[str, Chain]) -> list[tuple[Link, str, list[EventType]]]:
    """Every link with the name of its operation and the events that are brought to it."""
    return [
        (link, f"{name}_{link.name}".replace("-", "_").replace(".", "_"), given)
        for name, chain in chains.items()
        for table in [chain.table]
        for link in table.links
        for given in [
            [table.types[event_type] for event_type, route in table.by_type.items() if link in route.links]
            or [table.parked, table.released, table.withdrawn]
        ]
    ]


def _consumption(link: Link, given: list[EventType]) -> dict[str, Any]:
    """A consumer is asked over its queue; what it makes is in the journal before it answers."""
    operation = _operation("receive", f"queue_{link.queue}", given)
    operation["summary"] = link.consumer.__name__
    if doc := getdoc(link.consumer):
        operation["description"] = doc
    if link.makes:
        operation["reply"] = _at("journal", link.makes)
    return operation


def _operation(action: str, channel: str, events: Iterable[EventType]) -> dict[str, Any]:
    return {"action": action, **_at(channel, events)}


def _at(channel: str, events: Iterable[EventType]) -> dict[str, Any]:
    return {
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{event.__name__}"} for event in events],
    }


def _channel(address: str, description: str, events: Iterable[EventType]) -> dict[str, Any]:
    messages = {event.__name__: {"$ref": f"#/components/messages/{event.__name__}"} for event in events}
    return {"address": address, "description": description, "messages": messages}


def _message(event: EventType) -> dict[str, Any]:
    message = {"name": type_of(event), "payload": {"$ref": f"#/components/schemas/{event.__name__}"}}
    return message | ({"summary": event.__doc__} if event.__doc__ else {})


def _distinct(things: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(things))
