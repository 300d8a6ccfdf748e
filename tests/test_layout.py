"""The architecture, enforced: imports point up, files stay small, the core needs little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "seqjax"
ORDER = [
    "core", "engines", "cells", "losses", "decode", "metrics", "nn", "data", "gradients", "online",
    "plots", "interop", "train", "export", "bench", "cli", "testing",
]  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_up(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path):
        if name.startswith("seqjax."):
            other = name.split(".")[1]
            assert ORDER.index(other) <= ORDER.index(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.name != "utils.py"


def test_no_two_files_share_a_name():
    names = [path.name for path in FILES if path.name != "__init__.py"]
    assert not {name for name in names if names.count(name) > 1}


def test_no_folder_is_called_like_a_public_function():
    import seqjax as sj

    folders = {path.name for path in ROOT.iterdir()} | {path.stem for path in ROOT.glob("*.py")}
    assert not folders & set(sj.__all__) - {"interop", "nn", "online"}


def test_the_import_needs_five_packages_only():
    """Besides what these five import themselves (wadler_lindig is jaxtyping's)."""
    code = """
import sys
import jax, flax.nnx, optax, numpy, jaxtyping, wadler_lindig
before = set(sys.modules)
import seqjax
new = {name.split(".")[0] for name in set(sys.modules) - before}
allowed = {"seqjax", "jax", "jaxlib", "flax", "optax", "numpy", "jaxtyping"}
print(sorted(name for name in new - allowed if name not in sys.stdlib_module_names))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
