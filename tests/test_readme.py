"""The README's code runs as it stands, and it speaks of what is there."""

import re
from pathlib import Path

import pytest

import seqjax as sj

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_code_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 9
    assert 30 <= len(blocks[0].splitlines()) <= 60
    exec(compile("\n".join(blocks), "README.md", "exec"), {"__name__": "readme"})


def test_the_readme_names_every_function():
    missing = [
        name for name in sj.__all__ if name[0].islower() and not re.search(rf"\b{name}\b", README)
    ]
    assert not missing


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_commands_ci_runs_are_there(name):
    assert re.search(rf"<!-- command: {name} -->\n```bash\n.+\n```", README)


def test_contributing_shows_the_folders():
    picture = (ROOT / "CONTRIBUTING.md").read_text()
    for folder in (ROOT / "seqjax").iterdir():
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert f"  {folder.name}/" in picture
