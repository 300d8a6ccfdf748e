"""What does not fit a cell: parameters, a carry, inputs or a key, told by shapes alone.

It is looked for when a call has failed. What `init` and `initial_carry` make is what fits, and
where the arguments differ from that, one clear error takes the place of the one from deep inside.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from seqjax.core.types import Params

Shape = tuple[int, ...]

FAILURES = (ValueError, TypeError, LookupError, AttributeError, ZeroDivisionError)
"""What arguments that do not fit end in."""


class ArgumentError(Exception):
    """Arguments do not fit a cell.

    Args:
      owner: who found it.
      reason: what was expected, what came, what to do.
      cell: the innermost cell that was given them, in whose name the message is then; None if it
        is not known yet.
    """

    def __init__(self, owner: Any, reason: str, cell: str | None = None):
        super().__init__(f"{cell or owner}: {reason}")
        self.owner, self.reason, self.cell = owner, reason, cell

    def of(self, cell: str) -> "ArgumentError":
        """The same in the name of a cell."""
        return type(self)(self.owner, self.reason, cell)


class MisfitError(ArgumentError, ValueError):
    """Parameters, a carry or inputs are not of the form that a cell takes."""


class ComplexError(ArgumentError, TypeError):
    """Inputs are complex, and all that they meet is real."""


class NoStepError(ArgumentError, TypeError):
    """A cell that needs the whole sequence was asked for one step."""


class WidthError(ArgumentError, ValueError):
    """Inputs are not as wide as those that the parameters were made for."""

    def __init__(self, owner: Any, width: int, shape: Shape, cell: str | None = None):
        reason = (
            f"expected inputs of width {width}, which is what the parameters were made for by "
            f"`init(key, {width})`; got inputs of shape {shape}."
        )
        super().__init__(owner, reason, cell)
        self.width, self.shape = width, shape

    def of(self, cell: str, shape: Shape | None = None) -> "WidthError":
        """The same in the name of a cell, with the shape of the inputs as its user knows it."""
        return WidthError(self.owner, self.width, shape or self.shape, cell)


def clearer(
    name: str, error: Exception, explain: Callable[[], ArgumentError | None]
) -> ArgumentError | None:
    """The error to raise in place of one that a cell ended in, or None to leave that.

    The widest view is the clearest, as it tells the place in a tree: what a composite finds wrong
    comes before what one of its parts did.

    Args:
      name: of the cell.
      error: what its function raised.
      explain: what is wrong with its arguments, if anything is.
    """
    try:
        found = explain()
    except FAILURES:  # Arguments of which not even shapes can be told, or too few of them.
        found = None
    said = isinstance(error, ArgumentError) and not isinstance(error, MisfitError)
    if found is not None and (isinstance(found, WidthError) or not said):
        return found.of(name)
    if isinstance(error, ArgumentError) and (error.cell is None or isinstance(error, ComplexError)):
        return error.of(name)
    return None


def explain_inputs(cell: Any, x: Any, name: str) -> ArgumentError | None:
    """What is wrong with inputs, of most cells one array; all is told by shapes."""
    rank = cell.input_ndim
    if not isinstance(rank, int):
        return None
    if not hasattr(x, "shape"):
        return MisfitError(
            name,
            f"expected `{name}` to be one array, got a {type(x).__name__}. Make it one by "
            "jnp.asarray, or by jnp.stack where it holds arrays.",
        )
    if len(x.shape) < rank:
        return MisfitError(
            name, f"expected `{name}` of at least {rank} dimensions, got shape {x.shape}."
        )
    if rank and cell.in_features not in (None, x.shape[-1]):
        return WidthError(name, cell.in_features, x.shape)
    return None


def explain_params(cell: Any, params: Params, x: Any) -> ArgumentError | None:
    """What parameters lack that `init` makes, for inputs like x or, if it is None, for any."""
    wanted, width = _made(cell, x)
    lacks = difference(wanted, params)
    if lacks is None:
        return None
    return MisfitError(
        "params",
        f"expected parameters of `init(key, {width})` of this cell, {lacks}. Parameters go with "
        "the cell, and the width of the inputs, that they were made for.",
    )


def _made(cell: Any, x: Any) -> tuple[Params, Any]:
    """The shapes of the parameters, and the width of the inputs as a user would write it."""
    make = lambda width: jax.eval_shape(lambda: cell.init(jax.random.key(0), width))  # noqa: E731
    width = cell.in_features
    if width is None and x is not None and isinstance(cell.input_ndim, int) and cell.input_ndim:
        width = x.shape[-1]
    if width is not None:
        return make(width), width
    # Sizes that go with the width of the inputs may be any.
    free = lambda one, two: jax.ShapeDtypeStruct(  # noqa: E731
        tuple(a if a == b else None for a, b in zip(one.shape, two.shape, strict=True)), one.dtype
    )
    return jax.tree.map(free, make(1), make(2)), "in_features"


def difference(wanted: Any, given: Any, *, more: bool = True) -> str | None:
    """What a tree lacks that another one has, and what it has instead; None if it lacks nothing.

    Args:
      wanted: of arrays or their shapes; a size may be None, for any.
      given: likewise.
      more: whether it may have what the other one has not.
    """
    shapes, got = _shapes(wanted), _shapes(given)
    missing = [name for name in shapes if name not in got]
    if missing or (not more and len(got) > len(shapes)):
        held = "None" if given is None else _names(got)
        return f"with {_names(missing or shapes)}; got {held}"
    for name, shape in shapes.items():
        sizes = zip(shape, got[name], strict=False)
        if len(shape) != len(got[name]) or any(a not in (None, b) for a, b in sizes):
            spelled = str(tuple(_ANY if size is None else size for size in shape))
            return f"with {_names([name])} of shape {spelled}; got shape {got[name]}"
    return None


class _Any:
    """How a size that may be any prints."""

    def __repr__(self) -> str:
        return "any"


_ANY = _Any()


def _shapes(tree: Any) -> dict[str, Shape]:
    """The shape of every array of a tree by its name; of what carries noise the counts alone."""
    is_key = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)  # noqa: E731
    return {
        keystr(path, simple=True, separator="."): jnp.shape(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
        if not is_key(leaf)
    }


_MOST = 8
"""How many names a message has at most."""
_MOST_SIGNS = 40
"""How many characters of an argument it has at most."""


def _names(names: Any) -> str:
    spelled = [repr(name) if name else "one array" for name in names]
    more = f" and {len(spelled) - _MOST} more" if len(spelled) > _MOST else ""
    return ", ".join(spelled[:_MOST]) + more if spelled else "no arrays"


def spell_argument(value: Any) -> str:
    """An argument, an array by its kind and shape."""
    if not isinstance(value, jax.Array | np.ndarray):
        spelled = repr(value)
        return spelled if len(spelled) <= _MOST_SIGNS else f"an object {type(value).__name__}"
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return "a key" if is_key else f"an array of shape {value.shape}"
