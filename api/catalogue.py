"""The catalogue over HTTP: anybody with a key reads it, an operator changes it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from api.auth import Anybody, Operator
from api.body import Body
from api.problems import MAX_ON_HAND, Code, Name, Problem, flaw_in, flawed, raises
from api.shared import Here
from chain.subject import Identifier
from orders.money import CurrencyCode, Price, UnitPrice
from store.catalogue import BelowReserved, Product

_EXAMPLE = {"examples": [{"name": "Mug", "unit_price": 1350, "currency": "EUR", "on_hand": 10}]}


class ProductRequest(BaseModel, frozen=True, extra="forbid", json_schema_extra=_EXAMPLE):
    """What is for sale. `unit_price` is in minor units; a new price holds for orders received from now on."""

    name: Name
    unit_price: UnitPrice
    currency: CurrencyCode
    on_hand: Annotated[int, Field(strict=True, ge=0, le=MAX_ON_HAND), Code.ON_HAND_OUT_OF_RANGE]


router = APIRouter(tags=["catalogue"])


@router.get("/catalogue")
@raises(Code.UNKNOWN_PARAMETER)
async def list_products(request: Request, here: Here, _: Anybody) -> list[Product]:
    """All that is for sale."""
    if unknown := [*request.query_params]:
        raise flawed([flaw_in(name, Code.UNKNOWN_PARAMETER) for name in unknown])
    return await here.catalogue.products()


@router.put("/catalogue/{sku}")
@raises(Code.STOCK_RESERVED)
async def put_product(
    here: Here,
    _: Operator,
    sku: Annotated[Identifier, Path()],
    product: Annotated[ProductRequest, Depends(Body(ProductRequest))],
) -> Product:
    """Creates or changes what is for sale under this SKU."""
    price = Price(product.unit_price, product.currency)
    try:
        return await here.catalogue.put(sku, name=product.name, price=price, on_hand=product.on_hand)
    except BelowReserved:
        raise Problem(Code.STOCK_RESERVED) from None
