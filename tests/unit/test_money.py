import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency
from pydantic import TypeAdapter, ValidationError

from orders.money import MAX_UNIT_PRICE, CurrencyCode, UnitPrice, written
from orders.order import MAX_LINES, MAX_QUANTITY

CURRENCY: TypeAdapter[str] = TypeAdapter(CurrencyCode)
PRICE: TypeAdapter[int] = TypeAdapter(UnitPrice)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (4150, "EUR", "EUR 41.50"),
        (5, "EUR", "EUR 0.05"),
        (0, "USD", "USD 0.00"),
        (4150, "JPY", "JPY 4150"),
        (4150, "KWD", "KWD 4.150"),
    ],
)
def test_money_is_written_with_the_minor_units_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert written(amount, currency) == text


def test_the_pages_write_every_currency_with_the_same_minor_units() -> None:
    """What browsers know of that differs from ISO 4217 for 16 currencies: HUF, IDR, COP, PKR, IQD, ALL, ..."""
    page = (Path(__file__).parents[2] / "web" / "kit" / "words.js").read_text()
    decimals = {
        code: int(digits)
        for digits, codes in re.findall(r'^  (\d): "([A-Z ]+)",$', page, re.MULTILINE)
        for code in codes.split()
    }
    ours = {each.code: each.exponent for each in Currency if each.exponent is not None}
    assert len(ours) > 150
    assert {code: decimals.get(code, 2) for code in ours} == ours


@given(st.integers(min_value=0, max_value=10**30))
def test_no_cent_is_lost_in_writing(amount: int) -> None:
    assert int(written(amount, "EUR").removeprefix("EUR ").replace(".", "")) == amount


@pytest.mark.parametrize("code", ["EUR", "USD", "UAH", "JPY"])
def test_a_currency_is_an_iso_4217_code(code: str) -> None:
    assert CURRENCY.validate_python(code) == code


@pytest.mark.parametrize("code", ["eur", "EURO", "XYZ", "", "E R", "XAU", "EUR\n"])
def test_nothing_else_is_a_currency(code: str) -> None:
    with pytest.raises(ValidationError):
        CURRENCY.validate_python(code)


@pytest.mark.parametrize("price", [0, -1, MAX_UNIT_PRICE + 1, 1.0, 13.5, "1350", True, None])
def test_a_price_is_a_whole_positive_number_of_minor_units(price: Any) -> None:
    with pytest.raises(ValidationError):
        PRICE.validate_python(price)


def test_the_largest_order_fits_a_bigint() -> None:
    assert MAX_LINES * MAX_QUANTITY * MAX_UNIT_PRICE < 2**63
