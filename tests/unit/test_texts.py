"""What the pages themselves say, in both languages. A key is `section.name`."""

import json
import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
FOLDERS = sorted(texts.parent.name for texts in WEB.glob("*/texts"))
PLURALS = {"en": {"one", "other"}, "uk": {"one", "few", "many", "other"}}
"""The forms that the CLDR has for a language."""

_FORM = re.compile(r"_(zero|one|two|few|many|other)$")
_FILLED = re.compile(r"\{\{(\w+)\}\}")
_LITERAL = re.compile(r'"([a-z]\w*\.\w+)"')
_SAID = re.compile(r'(?:\b(?:text|hasText)\(|data-text(?:-[a-z-]+)?=)"([^"]+)"')
_GROUP = re.compile(r"`([a-z]\w*\.)\$\{")


def catalogue(folder: str, language: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads((WEB / folder / "texts" / f"{language}.json").read_text())
    return texts


def key(form: str) -> str:
    """As it is asked for, without the form of the plural."""
    return _FORM.sub("", form)


def source(*folders: str) -> str:
    files = [path for folder in folders for path in sorted((WEB / folder).glob("*.*"))]
    return "\n".join(path.read_text() for path in files if path.suffix in {".js", ".html"})


def asked(*folders: str) -> tuple[set[str], set[str]]:
    """The keys that stand in the source of the pages, and how those begin that are put together there."""
    page = source(*folders)
    return {*_SAID.findall(page), *_LITERAL.findall(page)}, {*_GROUP.findall(page)}


def test_both_pages_and_what_they_share_have_texts() -> None:
    assert {"kit", "shop"} <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_both_languages_say_the_same_and_fill_in_the_same(folder: str) -> None:
    texts = {language: catalogue(folder, language) for language in PLURALS}
    english, ukrainian = ({key(form) for form in each} for each in texts.values())
    assert english == ukrainian
    for language, each in texts.items():
        assert list(each) == sorted(each), f"{folder}/texts/{language}.json is in the order of its keys"
        assert not [form for form, said in each.items() if not said.strip()]
    filled = [
        {name: {*_FILLED.findall(said)} for form, said in each.items() for name in [key(form)]}
        for each in texts.values()
    ]
    assert filled[0] == filled[1]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("language", PLURALS)
def test_what_is_counted_has_every_form_of_the_language(folder: str, language: str) -> None:
    texts = catalogue(folder, language)
    counted = {key(form) for form in texts if _FORM.search(form)}
    assert counted == {key(form) for form, said in texts.items() if "{{count}}" in said}
    for name in counted:
        assert {form for form in texts if key(form) == name} == {f"{name}_{form}" for form in PLURALS[language]}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_that_a_page_says_exists(folder: str) -> None:
    known = {key(form) for shared in ("kit", folder) for form in catalogue(shared, "en")}
    said, groups = asked(folder)
    sections = {name.partition(".")[0] for name in known}

    assert {
        name for name in said if name in _SAID.findall(source(folder)) or name.partition(".")[0] in sections
    } <= known
    for group in groups:
        assert any(name.startswith(group) for name in known), f"a text that begins with {group}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_text_is_left_over(folder: str) -> None:
    said, groups = asked(*(FOLDERS if folder == "kit" else [folder]))
    own = {key(form) for form in catalogue(folder, "en")}
    assert {name for name in own - said if not name.startswith(tuple(groups))} == set()


def test_no_page_has_a_text_of_its_own_under_a_key_that_both_share() -> None:
    shared = catalogue("kit", "en")
    assert not [form for folder in FOLDERS if folder != "kit" for form in catalogue(folder, "en") if form in shared]
