"""The search attributes that workflows set. One that is not registered lets the workflow that sets it stand still."""

import stamina
import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from workflows.connect import AWAY
from workflows.ui_details import CUSTOMER_IDS, ORDER_IDS, PARKED_STAGES

log = structlog.get_logger()

NAMES = tuple(key.name for key in (ORDER_IDS, CUSTOMER_IDS, PARKED_STAGES))


def _not_yet(error: Exception) -> bool:
    """Not found is the namespace, which somebody is about to make."""
    return isinstance(error, RPCError) and error.status in (*AWAY, RPCStatusCode.NOT_FOUND)


async def register_search_attributes(client: Client) -> None:
    """Registers those that are missing. Where the server lets only its operator do that, it is logged as an error."""
    try:
        await _register(client)
    except RPCError as error:
        log.error("Temporal's search attributes could not be registered", names=NAMES, error=str(error))  # noqa: TRY400


@stamina.retry(on=_not_yet, attempts=None, timeout=None, wait_max=5.0)
async def _register(client: Client) -> None:
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = [name for name in NAMES if name not in known.custom_attributes]
    if missing:
        wanted = dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST)
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
        )
        log.warning("search attributes were missing, they are registered now", names=missing)
