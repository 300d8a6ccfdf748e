"""The README's code runs as it stands, and what it links to is there."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_code_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    names = {}
    exec(compile("\n".join(blocks), "README.md", "exec"), names)
    assert names["ys"].shape == (16, 100, 64) and names["y"].shape == (16, 64)
    gradient = jax.tree.leaves(names["gradient"](names["params"]))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in gradient)
    for cell in (
        names["minimal_gated_unit"](4),
        names["minimal_gru"](4),
        names["delta_rule"](heads=2, width=2),
    ):
        _, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 3)))
        assert ys.shape == (5, 4)


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_commands_ci_runs_are_there(name):
    assert re.search(rf"<!-- command: {name} -->\n```bash\n.+\n```", README)


def test_the_architecture_shows_the_folders():
    picture = (ROOT / "docs" / "architecture.md").read_text()
    for folder in (ROOT / "seqjax").iterdir():
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert f"  {folder.name}/" in picture


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), f"{page} links to {target}"
