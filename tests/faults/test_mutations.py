"""The table of `make mutations` keeps up with the code and the docs; the mutations themselves take minutes."""

import pytest

from tests.faults.mutations import MUTATIONS, ROOT, Mutation

each_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.words)


@each_mutation
def test_what_is_taken_away_stands_there_once(mutation: Mutation) -> None:
    for change in mutation.changes:
        assert (ROOT / change.file).read_text().count(change.old) == 1, change


@each_mutation
def test_the_docs_say_which_test_catches_it(mutation: Mutation) -> None:
    (line,) = [
        line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith(f"| {mutation.words} |")
    ]
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()
        assert name.removeprefix("test_").replace("_", " ") in line
