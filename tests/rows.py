"""Which rows of a test that runs over many are for every day."""

from collections.abc import Iterable

import pytest


def thorough_but(always: Iterable[str], names: Iterable[str]) -> list:
    """Names as parameters: those outside of `always` run with `pytest -m thorough` only."""
    always, names = list(always), list(names)
    assert set(always) <= set(names), f"no such rows: {set(always) - set(names)}"
    marks = {name: () if name in always else (pytest.mark.thorough,) for name in names}
    return [pytest.param(name, marks=marks[name], id=name) for name in names]
