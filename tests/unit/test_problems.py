"""What a chain says is wrong with its own fields, without a word of it in the API."""

from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from api.problems import Code, codes_of, in_body
from chain.problems import ProblemCode


class ParcelCode(ProblemCode):
    TOO_LIGHT = "too_light", 422, "Send at least 1 gram."
    TOO_FAR = "too_far", 422, "Send the name of a street of this town."


Street = Annotated[str, Field(max_length=9), ParcelCode.TOO_FAR]


class Box(BaseModel):
    weight: Annotated[int, Field(strict=True, ge=1), ParcelCode.TOO_LIGHT]
    inside: list["Box"] = []


class Parcel(BaseModel):
    boxes: list[Box] = []
    street: Annotated[Street | None, Field(validation_alias=AliasChoices("street", "road"))] = None
    limit: Annotated[int, Field(ge=1)] = 1


@pytest.mark.parametrize(
    ("sent", "pointer", "code"),
    [
        ({"boxes": [{"weight": 1, "inside": [{"weight": 0}]}]}, "#/boxes/0/inside/0/weight", ParcelCode.TOO_LIGHT),
        ({"boxes": [{"weight": "1"}]}, "#/boxes/0/weight", Code.NOT_AN_INTEGER),
        ({"street": "Paternoster"}, "#/street", ParcelCode.TOO_FAR),
        ({"road": "Paternoster"}, "#/road", ParcelCode.TOO_FAR),
        ({"limit": 0}, "#/limit", Code.INVALID_VALUE),
    ],
)
def test_a_field_says_itself_which_code_it_means(sent: Any, pointer: str, code: ProblemCode) -> None:
    with pytest.raises(ValidationError) as refused:
        Parcel.model_validate(sent)

    (flaw,) = in_body(refused.value, Parcel)

    assert (flaw.pointer, flaw.code, flaw.detail) == (pointer, code, code.advice)


def test_what_may_be_wrong_with_a_body_is_listed_with_the_codes_of_its_chain() -> None:
    assert {ParcelCode.TOO_LIGHT, ParcelCode.TOO_FAR, Code.MISSING_FIELD} <= codes_of(Parcel)
