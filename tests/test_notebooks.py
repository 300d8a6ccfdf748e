"""Notebooks are paired: the Markdown that is reviewed is the notebook that runs."""

from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
PAGES = sorted(FOLDER.glob("*.md"))


def test_every_notebook_has_its_page():
    assert PAGES
    assert [page.stem for page in PAGES] == [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_and_notebook_say_the_same(page):
    """If not: `jupytext --to ipynb --update notebooks/*.md`."""
    cells = lambda path: [(c.cell_type, c.source) for c in jupytext.read(path).cells]  # noqa: E731
    assert cells(page) == cells(page.with_suffix(".ipynb"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_notebooks_are_shipped_without_outputs(page):
    notebook = jupytext.read(page.with_suffix(".ipynb"))
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_notebook_runs_on_colab_and_checks_itself(page):
    text = page.read_text()
    assert f"blob/main/notebooks/{page.stem}.ipynb" in text
    assert '"google.colab" in sys.modules' in text and "jax.devices()" in text
    code = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    assert "assert" in code[-1]


def test_the_first_cell_is_the_same_everywhere():
    first = {
        next(c.source for c in jupytext.read(page).cells if c.cell_type == "code") for page in PAGES
    }
    assert len(first) == 1 and "%run colab.py" in first.pop()
