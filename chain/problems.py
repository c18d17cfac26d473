"""What may be wrong with what comes from outside: a stable code, and what a client can do. A chain brings its own."""

from enum import StrEnum
from typing import Self


class ProblemCode(StrEnum):
    """What went wrong. The codes are stable; beside each stand its HTTP status and what the client can do."""

    status: int
    advice: str

    def __new__(cls, code: str, status: int, advice: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.advice = advice
        return member

    @property
    def heading(self) -> str:
        words = [each.upper() if each in _ACRONYMS else each for each in self.value.split("_")]
        return f"{words[0][0].upper()}{' '.join(words)[1:]}"


_ACRONYMS = {"api", "id", "json", "url"}


MAX_ID = 128
"""Characters of an id from outside."""


class IdCode(ProblemCode):
    """That of every id from outside."""

    INVALID_ID = (
        "invalid_id", 422,
        f"Send 1 to {MAX_ID} printable characters, no blank at an end, not . or ..; in a path percent-encoded.",
    )  # fmt: skip
