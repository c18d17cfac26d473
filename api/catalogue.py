"""The catalogue over HTTP: anybody with a key reads it, an operator changes it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Anybody, Operator
from api.body import Body, takes
from api.problems import AS_OPERATOR, MAX_NAME, MAX_ON_HAND, WITH_KEY, Code, Problem, documented
from orders.money import CurrencyCode, UnitPrice
from orders.order import Identifier
from store.catalogue import BelowReserved, Catalogue, Price, Product


class ProductRequest(BaseModel):
    """What is for sale. `unit_price` is in minor units; a new price holds for orders received from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^\P{Cc}+$", max_length=MAX_NAME)]
    unit_price: UnitPrice
    currency: CurrencyCode
    on_hand: Annotated[int, Field(strict=True, ge=0, le=MAX_ON_HAND)]


Sku = Annotated[Identifier, Path()]

router = APIRouter(tags=["catalogue"])


@router.get("/catalogue", responses=documented(*WITH_KEY))
async def list_products(request: Request, _: Anybody) -> list[Product]:
    catalogue: Catalogue = request.state.catalogue
    return await catalogue.products()


@router.put(
    "/catalogue/{sku}",
    **takes(ProductRequest, *AS_OPERATOR, Code.INVALID_ID, Code.STOCK_RESERVED),
)
async def put_product(
    request: Request, _: Operator, sku: Sku, product: Annotated[ProductRequest, Depends(Body(ProductRequest))]
) -> Product:
    catalogue: Catalogue = request.state.catalogue
    price = Price(product.unit_price, product.currency)
    try:
        return await catalogue.put(sku, name=product.name, price=price, on_hand=product.on_hand)
    except BelowReserved:
        raise Problem(Code.STOCK_RESERVED) from None
