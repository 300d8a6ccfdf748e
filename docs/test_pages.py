"""The Python of the pages and the example run, as they would for a user."""

import re
import runpy
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_the_pages_run(page):
    """Block by block, with the names of the blocks before."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, page.name, "exec"), names)


def test_the_example_trains_and_samples(monkeypatch, capsys):
    """Fewer steps than a user takes, and it learns."""
    path = DOCS.parent / "examples" / "train_on_text.py"
    monkeypatch.setattr(sys, "argv", [str(path), "24"])
    names = runpy.run_path(str(path))
    first, last = names["history"][0], sum(names["history"][-4:]) / 4
    assert last < first - 1, "the example does not learn"
    assert len(capsys.readouterr().out) > 400
