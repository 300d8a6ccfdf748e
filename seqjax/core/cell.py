"""What a cell is: a record of pure functions over a parameter pytree."""

import dataclasses
import functools
import inspect
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ParamSpec, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.guards import GUARDS, Subject, bare
from seqjax.core.misfits import ComplexError, MisfitError, WidthError
from seqjax.core.types import Carry, Params, PRNGKeyArray, PyTree


@runtime_checkable
class InitFn(Protocol):
    """`(key, in_features) -> params`."""

    def __call__(self, key: PRNGKeyArray, in_features: int, /) -> Params: ...


@runtime_checkable
class InitialCarryFn(Protocol):
    """`(params, batch_shape) -> carry`, every leaf with leading `batch_shape`."""

    def __call__(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Carry: ...


@runtime_checkable
class StepFn(Protocol):
    """`(params, carry, x) -> (carry, y)`: one time step, `x` is `(*batch, inputs)`."""

    def __call__(self, params: Params, carry: Carry, x: PyTree, /) -> tuple[Carry, PyTree]: ...


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, repr=False)
class Cell:
    """A recurrence, as pure functions over a parameter pytree.

    A cell holds no arrays. It is hashable and static: pass it to `jax.jit` like any other
    argument or close over it. `functools.partial(cell.step, params)` is a body for
    `jax.lax.scan`.

    Args:
      init: `(key, in_features) -> params`.
      initial_carry: `(params, batch_shape=()) -> carry`; leaves are
        `(*batch_shape, ...)`. The state before the first step and after a reset.
      step: `(params, carry, x) -> (carry, y)`; `x` is `(*batch, inputs)`, `y` is
        `(*batch, features)`. The carry keeps its structure, shapes and dtypes.
      features: width of the output `y`.
      input_ndim: rank of one step's input without batch dimensions, 1 for a feature
        vector, 3 for an image; for inputs that are pytrees, one number for all leaves or a
        tree of numbers with the structure of the input.
      output_ndim: rank of one step's output without batch dimensions; by default that of the
        input, but at least 1.
      pixelwise: whether it takes vectors and has no state, so that further dimensions in front of
        the features are like batch dimensions: beside cells for images it works pixel by pixel.
      in_features: the one width of the input that `init` accepts; None if it accepts any.
      causal: whether step t of the output depends on no later input. A cell that is not
        causal has no `step`; it runs over whole sequences by `sequence`.
      output: `carry -> y` where the output is a function of the new carry alone.
      sequence: how to run over a whole sequence in terms of the scans of the parts (see
        `seqjax.core.steps.SequenceFn`). Needed when the cell is not causal.
      structure: what an execution engine may exploit, a `Gated` for gated cells.
      name: what a layer of this cell is called in a stack: the name of the function that made it;
        for a wrapper of one cell with the parameters of that cell, the name of the cell inside.
      call: how the cell prints: the call that made it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> def step(decay, carry, x):
      ...     carry = decay * carry + x
      ...     return carry, carry
      >>> average = sj.Cell(
      ...     init=lambda key, in_features: jnp.float32(0.5),
      ...     initial_carry=lambda decay, batch_shape=(): jnp.zeros((*batch_shape, 1)),
      ...     step=step,
      ...     features=1,
      ... )
      >>> params = average.init(jax.random.key(0), 1)
      >>> carry, ys = sj.scan(average, params, jnp.ones((3, 1)))
      >>> ys[:, 0]
      Array([1.  , 1.5 , 1.75], dtype=float32)
    """

    init: InitFn
    initial_carry: InitialCarryFn
    step: StepFn
    features: int
    input_ndim: Any = 1
    output_ndim: Any = None
    pixelwise: bool = False
    in_features: int | None = None
    causal: bool = True
    output: Callable[[Carry], Any] | None = None
    sequence: Callable[..., Any] | None = None
    structure: Hashable = None
    name: str = ""
    call: str = ""

    def __post_init__(self):
        for field in ("init", "initial_carry", "step"):
            if not callable(getattr(self, field)):
                raise TypeError(
                    f"Cell: `{field}` must be a function, got {getattr(self, field)!r}."
                )
        positive_int("Cell", "features", self.features)
        if self.output_ndim is None:
            rank = self.input_ndim if isinstance(self.input_ndim, int) else 1
            object.__setattr__(self, "output_ndim", max(1, rank))
        if not self.causal and self.sequence is None:
            raise TypeError("Cell: a cell that is not causal needs `sequence`; got None.")
        self._guard()

    def _guard(self):
        """Puts functions that explain their failures in place of those given."""
        init, initial_carry = map(bare, (self.init, self.initial_carry))
        own = Subject(self.call, init, initial_carry, self.in_features, self.input_ndim)
        for field, guard in GUARDS.items():
            object.__setattr__(self, field, guard(bare(getattr(self, field)), own))

    def __deepcopy__(self, memo: Any) -> "Cell":
        # Nothing in a cell changes, and a copy of its functions would not equal them.
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A cell that a `factory` made is pickled as the call."""
        recipe = self.__dict__.get("recipe")
        return super().__reduce_ex__(protocol) if recipe is None else (_make_again, recipe)

    def __repr__(self) -> str:
        return self.call or f"Cell(step={spell(self.step)}, features={self.features})"


P = ParamSpec("P")


def factory(build: Callable[P, Cell]) -> Callable[P, Cell]:
    """Makes equal calls return the same cell, and gives the cell the call as its repr.

    JAX compiles again whenever a static argument is not equal to the one it saw, so two
    calls of a function that makes a cell would compile twice. Put this decorator on
    functions that return a `Cell`, and building a cell twice never does. A cell is remembered
    for as long as anything uses it. A program that JAX compiled for a cell does, until
    `jax.clear_caches()`.

    Args:
      build: a function whose arguments are hashable (numbers, strings, functions, cells,
        initializers; mappings and lists of such are fine too) and which returns a `Cell`.

    Returns:
      The function, with the same signature.

    Raises:
      TypeError: from the call, if an argument cannot be hashed.

    Example:
      >>> import seqjax as sj
      >>> sj.lstm(8) is sj.lstm(features=8)
      True
      >>> sj.lstm(8, forget_bias=2.0)
      lstm(8, forget_bias=2.0)
    """
    signature = inspect.signature(build)
    # Weakly: what a cell closes over, a table of many megabytes perhaps, goes with the last use.
    made: weakref.WeakValueDictionary[Hashable, Cell] = weakref.WeakValueDictionary()

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Cell:
        bound = signature.bind(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        recipe = tuple(_freeze(build, *argument) for argument in bound.arguments.items())
        known = made.get(recipe)
        if known is None:
            cell = build(*bound.args, **bound.kwargs)
            # A new cell may bring a name, as wrappers do; one from another factory is renamed.
            name = (not cell.call and cell.name) or build.__name__.lstrip("_")
            call = _spell_call(build, given)
            known = _renamed(cell, name, call)
            object.__setattr__(known, "recipe", (make, args, kwargs))
            made[recipe] = known
        return known

    return make


def _make_again(make: Callable[..., Cell], args: Any, kwargs: Any) -> Cell:
    return make(*args, **kwargs)


def _renamed(cell: Cell, name: str, call: str) -> Cell:
    """The cell under the name of the function that made it, in the errors of its steps too."""
    renamed: dict[int, Any] = {}

    def owned(value: Any) -> Any:
        """Functions of what has an owner, as those of this call."""
        value = bare(value)
        self = getattr(value, "__self__", None)
        return value if self is None else getattr(own(self), value.__name__)

    def own(parts: Any) -> Any:
        if not hasattr(parts, "owner"):
            return parts
        if id(parts) not in renamed:
            fields = {field.name: getattr(parts, field.name) for field in dataclasses.fields(parts)}
            fields = {name: owned(value) for name, value in fields.items()} | {"owner": call}
            renamed[id(parts)] = type(parts)(**fields)
        return renamed[id(parts)]

    fields = {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell)}
    fields = {field: owned(value) for field, value in fields.items()}
    return Cell(**fields | {"structure": own(cell.structure), "name": name, "call": call})


def positive_int(owner: str, name: str, value: Any) -> int:
    """`value` as an int, or an error that names who wanted it."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(f"{owner}: `{name}` must be a positive whole number, got {value!r}.")
    return value.__index__()


def position_in_stack(owner: str, layer: int, layers: int) -> tuple[float, float]:
    """`layer / (layers - 1)`, from 0 to 1, and `1 - layer / layers`, from 1 to almost 0.

    Parameters of some cells start by them. Raises unless the layer is one of the layers.
    """
    if not 0 <= layer < layers:
        raise ValueError(
            f"{owner}: `layer` must be at least 0 and below `layers`, the number of all layers; "
            f"got layer={layer} and layers={layers}."
        )
    return layer / max(1, layers - 1), 1 - layer / layers


def expect_inputs(owner: Any, in_features: int, x: Any) -> None:
    """Raises unless the inputs of a step are as wide as those the parameters were made for."""
    if x.ndim < 1 or x.shape[-1] != in_features:
        raise WidthError(owner, in_features, x.shape)


def expect_outputs(owner: Any, features: int, shape: tuple[int, ...]) -> None:
    """Raises unless the outputs of a step are as wide as the cell says."""
    if shape[-1:] != (features,):
        raise MisfitError(
            owner, f"expected outputs of width {features}, as `features` says; got {shape[-1]}."
        )


def expect_real(owner: Any, x: Any, *others: Any) -> None:
    """Raises if inputs are complex and all that they meet, parameters or a state, is real."""
    has_complex = lambda tree: any(map(jnp.iscomplexobj, jax.tree.leaves(tree)))  # noqa: E731
    if has_complex(x) and not has_complex(others):
        dtypes = ", ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(x)}))
        raise ComplexError(
            owner,
            "expected real inputs, as the imaginary part would be lost in a state or in a norm of "
            f"real numbers; got {dtypes}. Give both parts as features: "
            "jnp.concatenate([x.real, x.imag], -1).",
        )


def expect_width(owner: str, features: int, in_features: int) -> None:
    """Raises unless the input of a cell is as wide as its output."""
    if in_features != features:
        raise ValueError(
            f"{owner}({features}): the input must be {features} wide, like the output; got "
            f"in_features={in_features}."
        )


def spell(value: Any) -> str:
    """A short name for a value in the repr of a cell."""
    if isinstance(value, Cell):
        return repr(value)
    if isinstance(value, str):
        return repr(value)
    return getattr(value, "__name__", None) or repr(value)


def _spell_call(build: Callable, bound: inspect.BoundArguments) -> str:
    words = []
    for key, value in bound.arguments.items():
        parameter = bound.signature.parameters[key]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            words += [spell(item) for item in value]
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            words += [f"{name}={spell(item)}" for name, item in value.items()]
        elif parameter.default is inspect.Parameter.empty and (
            parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        ):
            words.append(spell(value))
        elif value is not parameter.default and value != parameter.default:
            words.append(f"{key}={spell(value)}")
    return f"{build.__name__}({', '.join(words)})"


def _freeze(build: Callable, name: str, value: Any) -> Hashable:
    """A hashable stand-in for an argument; 2 and 2.0 are told apart."""
    if isinstance(value, Mapping):
        frozen = tuple(value.items())
    else:
        frozen = tuple(value) if isinstance(value, list) else value
    try:
        hash(frozen)
    except TypeError:
        raise TypeError(
            f"{build.__name__}: `{name}` must be hashable, because a cell holds no arrays; got "
            f"{type(value).__name__}. Pass numbers, functions or initializers, and put arrays "
            "into the parameters."
        ) from None
    return name, type(value), frozen
