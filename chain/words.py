"""What the things of a chain are called, for a customer and for an operator, in every language side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Self

Language = Literal["en", "uk"]
LANGUAGES: tuple[Language, ...] = ("en", "uk")


class Text(NamedTuple):
    """The same in each language. A text with `{name}` in it is filled by whoever shows it."""

    en: str
    uk: str

    def in_language(self, language: Language) -> str:
        return self.uk if language == "uk" else self.en


SUBJECT, SUBJECTS = Text("subject", "предмет"), Text("subjects", "предмети")


@dataclass(frozen=True)
class LinkWords:
    """What a link is called by an operator (`title`), and what a customer hears of it.

    `customer` is its name in a list of steps; a link without one is not shown to customers. `doing`, `done` and
    `undone` are sentences while it works, when it has, and when that was taken back. `icon` names a picture of the
    pages.
    """

    title: Text
    customer: Text | None = None
    doing: Text | None = None
    done: Text | None = None
    undone: Text | None = None
    icon: str = "link"


@dataclass(frozen=True)
class Words:
    """`title` names the chain, `subject` one of its subjects and `subjects` several.

    `links` by name, `events` by the name of their class, `statuses` and `reasons` by their code. What has no entry is
    called as it is called in the code, with spaces.
    """

    title: Text | None = None
    subject: Text = SUBJECT
    subjects: Text = SUBJECTS
    links: Mapping[str, LinkWords] = field(default_factory=dict)
    events: Mapping[str, Text] = field(default_factory=dict)
    statuses: Mapping[str, Text] = field(default_factory=dict)
    reasons: Mapping[str, Text] = field(default_factory=dict)

    def link(self, name: str) -> LinkWords:
        return self.links.get(name) or LinkWords(plain(name))

    def event(self, name: str) -> Text:
        return self.events.get(name) or plain(name)

    def status(self, name: str) -> Text:
        return self.statuses.get(name) or plain(name)

    def reason(self, name: str) -> Text:
        return self.reasons.get(name) or plain(name)


def plain(code: str) -> Text:
    """`too_heavy` is for programs, `Too heavy` for people."""
    words = code.replace("_", " ").replace("-", " ")
    return Text(*[words[:1].upper() + words[1:]] * 2)


def preferred(accept_language: Iterable[tuple[str, float]]) -> Language:
    """The first language of a browser's list that there are words in; English where there is none."""
    for wanted, _ in sorted(accept_language, key=lambda each: -each[1]):
        for language in LANGUAGES:
            if wanted.lower().partition("-")[0] == language:
                return language
    return "en"


class Worded(StrEnum):
    """A code with what it is called: `TOO_HEAVY = "too_heavy", Text(en=..., uk=...)`."""

    words: Text

    def __new__(cls, code: str, words: Text) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.words = words
        return member

    @classmethod
    def all_words(cls) -> Mapping[str, Text]:
        return {str(member): member.words for member in cls}
