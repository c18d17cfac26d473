"""All chains. One of another package takes part by its module's name in LANKA_CHAINS (see docs/a-new-chain.md)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from types import ModuleType

from chain.event import AcceptedType, EventTypes, type_of
from workflows.chain import Chain

BUILT_IN = ("workflows.order_confirmation", "support")


def _load() -> tuple[Mapping[str, str], Sequence[str]]:
    """The module of each chain, by the chain's name. Each has a `CHAIN`, and `consumers` for the worker.

    What cannot be loaded is left out and told: with that no program of Lanka starts (see lanka/settings.py).
    """
    named = (name.strip() for name in os.environ.get("LANKA_CHAINS", "").split(","))
    found: dict[str, str] = {}
    problems: list[str] = []
    for module in dict.fromkeys([*BUILT_IN, *filter(None, named)]):
        try:
            name = import_module(module).CHAIN.name
        except (ImportError, AttributeError, ValueError) as error:
            problems.append(f"the module {module} has no chain: {error}")
            continue
        if name in found:
            problems.append(f"the modules {found[name]} and {module} both have a chain called {name}")
        else:
            found[name] = module
    return found, problems


_MODULES, problems = _load()

CHAINS: Mapping[str, Chain] = {name: import_module(module).CHAIN for name, module in _MODULES.items()}

TYPES = EventTypes(event for chain in CHAINS.values() for event in chain.table.events)


def modules() -> Iterable[ModuleType]:
    return map(import_module, _MODULES.values())


def module_of(name: str) -> str:
    """The name of the module that has the chain `name`, its consumers, and whatever else it brings."""
    return _MODULES[name]


def schemas() -> Mapping[str, str]:
    """The `schema.sql` of each chain whose package has one, by the chain's name."""
    packages = {name: module for name, module in _MODULES.items() if hasattr(import_module(module), "__path__")}
    found = {name: files(package) / "schema.sql" for name, package in packages.items()}
    return {name: schema.read_text() for name, schema in found.items() if schema.is_file()}


def queues() -> set[str]:
    """Every task queue that some chain needs."""
    chains = CHAINS.values()
    return {queue for chain in chains for queue in (chain.queue, *(link.queue for link in chain.table.links))}


def accepted() -> list[AcceptedType]:
    """The types of events that may come from outside, with what the database has to know of them."""
    return [
        AcceptedType(type_of(event), name, event.kind, event.status)
        for name, chain in CHAINS.items()
        for event in chain.accepts
    ]
