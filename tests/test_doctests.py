"""Every example in a docstring of the package is run.

The modules are found by their text and imported one by one: pytest's own collection would import all of them, the ones for
extras that are not installed included.
"""

import doctest
import importlib
from pathlib import Path

import pytest

import actorsys

ROOT = Path(actorsys.__file__).parent


def modules_with_examples() -> list[str]:
    paths = (path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text())
    return [".".join(["actorsys", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
