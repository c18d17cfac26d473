"""Runs first in each process of a side of `make bench-check`: it may import its own checkout, the packages of its
environment and the standard library. Anything else would mean that another commit is measured than the one it says.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

OWN = [Path(place).resolve() for place in (os.environ["BENCH_CHECK_CODE"], sys.prefix, Path(os.__file__).parent)]


class OwnCodeOnly:
    """Asks all other finders, and looks at what they have found."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        finders = (finder for finder in sys.meta_path if finder is not cls)
        spec = next((found for finder in finders if (found := finder.find_spec(name, path, target))), None)
        if spec and not all(_own(place) for place in _places(spec)):
            raise ImportError(f"bench-check: {name} comes from elsewhere: {_places(spec)}")
        return spec


def _places(spec: ModuleSpec) -> list[str]:
    origin = [spec.origin] if spec.has_location and spec.origin else []
    return [*origin, *(spec.submodule_search_locations or [])]


def _own(place: str) -> bool:
    return any(Path(place).resolve().is_relative_to(own) for own in OWN)


sys.meta_path.insert(0, OwnCodeOnly)
