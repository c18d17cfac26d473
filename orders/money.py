"""Money: whole minor units with an ISO 4217 code. No float ever touches it."""

from typing import Annotated, NamedTuple

from iso4217 import Currency
from pydantic import AfterValidator, Field

MAX_UNIT_PRICE = 10**12
"""Upper bound of one price in minor units: ten billion euros, so 100 lines still fit a PostgreSQL bigint."""

_EXPONENTS = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}


def _known(code: str) -> str:
    if code not in _EXPONENTS:
        raise ValueError(f"{code!r} is not an ISO 4217 currency with minor units; use a code such as EUR or USD")
    return code


CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"]), AfterValidator(_known)]
UnitPrice = Annotated[int, Field(strict=True, ge=1, le=MAX_UNIT_PRICE, description="minor units", examples=[1350])]


class Price(NamedTuple):
    """The price of one, in minor units."""

    unit_price: int
    currency: str


def written(amount: int, currency: str) -> str:
    """`written(4150, "EUR")` is `EUR 41.50`; `written(4150, "JPY")` is `JPY 4150`."""
    exponent = _EXPONENTS[currency]
    if exponent == 0:
        return f"{currency} {amount}"
    whole, fraction = divmod(amount, 10**exponent)
    return f"{currency} {whole}.{fraction:0{exponent}}"
