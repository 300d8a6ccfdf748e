"""The catalogue has every cell, and what is made from it agrees with it."""

import inspect
import pkgutil
import re
from importlib import import_module

import jax
import pytest

import seqjax as sj
from seqjax import cells
from seqjax.cells.block_stack import TRUNKS
from seqjax.cells.catalogue import CATALOGUE
from seqjax.core.cell import Cell
from seqjax.train.config import CellConfig


def test_every_public_cell_has_one_row():
    made = []
    for module in pkgutil.iter_modules(cells.__path__):
        for name, item in vars(import_module(f"seqjax.cells.{module.name}")).items():
            own = getattr(item, "__module__", "") == f"seqjax.cells.{module.name}"
            public = own and name[0] != "_" and inspect.isfunction(item)
            if public and inspect.signature(item).return_annotation is Cell:
                made.append(name)
    # Parts of other cells: layers of retention, of the delta rule and of images, a stack of blocks.
    parts = {"rotation", "delta_rule_layer", "space_mean", "block_stack"}
    assert sorted({*made} - parts) == sorted(entry.name for entry in CATALOGUE)


def test_what_it_lists_is_exported():
    for entry in CATALOGUE:
        assert getattr(sj, entry.name) is entry.make and entry.name in sj.__all__
        for item in entry.beside:
            assert getattr(sj, item.__name__) is item
    assert len(sj.__all__) == len(set(sj.__all__))


def needed(make):
    """Sizes for what has no default."""
    parameters = list(inspect.signature(make).parameters.values())[1:]
    bare = [p for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    return {p.name: 4 for p in bare}


@pytest.mark.parametrize("name", [entry.name for entry in CATALOGUE if entry.takes_vectors])
def test_widths_that_are_none(name):
    """One error that says what was expected, of the cell and of its parameters."""
    make = getattr(sj, name)
    for features in (0, True, 2.0, "4", None):
        with pytest.raises(ValueError, match="`features` must be a positive whole number, got"):
            make(features, **needed(make))
    cell = make(8, **needed(make))
    for width in (0, -1, 2.0):
        with pytest.raises(ValueError, match="positive whole number|must be 8 wide"):
            jax.eval_shape(lambda width=width: cell.init(jax.random.key(0), width))


def test_the_command_line_offers_every_trunk():
    told = inspect.getsource(CellConfig).split("after the last:")[1].split("; or several")[0]
    names = re.sub(r"\(.*?\)", "", told, flags=re.DOTALL)
    assert set(re.findall(r"[a-z_]\w+", names)) - {"or"} == set(TRUNKS)
