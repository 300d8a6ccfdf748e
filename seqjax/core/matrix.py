"""Cells with a matrix-valued state."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, InitFn, factory, positive_int, spell
from seqjax.core.gates import broadcasts
from seqjax.core.heads import from_heads
from seqjax.core.layers import draw
from seqjax.core.matrix_step import Access, MatrixState, Scaled, advance
from seqjax.core.misfits import ComplexError
from seqjax.core.trees import floats
from seqjax.core.types import Array, Carry, Initializer, Params, PRNGKeyArray, PyTree


def _flat(params: Params, o: Array, x: Any) -> Array:
    return from_heads(o)


@factory
def matrix_state(
    access: Callable[[Params, Any], Access],
    *,
    heads: int,
    keys: int,
    values: int,
    init: InitFn | Mapping[str, tuple[int, ...]],
    read_out: Callable[[Params, Any, Any], Array] = _flat,
    features: int | None = None,
    stabilized: bool = False,
    least_log_decay: float | None = None,
    weight_init: Initializer = initializers.LeCun(),
    input_ndim: Any = 1,
) -> Cell:
    """A cell with a matrix-valued state, from what a step forgets, writes and reads.

        S, o = the update of S and the reading of it by access(params, x), see `sj.Access`
        y = read_out(params, o, x)

    `access` sees the input alone, so a scan calls it for many steps at once and works through
    time in chunks, with matrix products inside.

    Args:
      access: `(params, x) -> Access`, for any number of leading dimensions of `x`.
      heads: number of heads, each with a memory of its own.
      keys: width of queries and keys, per head.
      values: width of values, per head.
      init: `(key, in_features) -> params`; or a mapping from names to shapes, for a dict of
        weights `(in_features, *shape)`.
      read_out: `(params, o, x) -> y` with `o` `(*batch, heads, values)`, for any number of
        leading dimensions; a `Scaled` if `stabilized`. By default `y` is `o`, head after head.
      features: width of `y`; `heads * values` unless given.
      stabilized: whether the memory has a scale of its own, so that `log_input` may have any
        size without an overflow.
      least_log_decay: a lower bound of `log_decay`, at most 0, or None. With a bound, the form of
        the chunks for decays per channel is chosen when the program is compiled; without one,
        while it runs.
      weight_init: initializer of the weights of an `init` that is a mapping.
      input_ndim: as for `sj.Cell`.

    Returns:
      A cell whose carry is `MatrixState(memory, log_scale)`.

    Raises:
      ValueError: if sizes do not fit, or if the fields of an `Access` do not go together.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> def delta_rule(heads, width):
      ...     def access(p, x):
      ...         q, k, v = (sj.to_heads(x, p[name]) for name in ("query", "key", "value"))
      ...         k = k / jnp.sqrt(jnp.square(k).sum(-1, keepdims=True) + 1e-6)
      ...         return sj.Access(q, k, v, rate=jax.nn.sigmoid(x @ p["rate"]))
      ...     shapes = {name: (heads, width) for name in ("query", "key", "value")}
      ...     shapes["rate"] = (heads,)
      ...     return sj.matrix_state(access, heads=heads, keys=width, values=width, init=shapes)
      >>> cell = delta_rule(heads=2, width=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> carry.memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))
    """
    if least_log_decay is not None and not -math.inf < least_log_decay <= 0:
        raise ValueError(
            "matrix_state: `least_log_decay` must be a finite number of at most 0, or None for no "
            f"bound; got {least_log_decay!r}."
        )
    if stabilized and read_out is _flat:
        raise ValueError(
            "matrix_state: with `stabilized=True` a reading is an sj.Scaled, so `read_out` must "
            "turn its `values` and its `log_scale` into the output; got none."
        )
    if features is not None and read_out is _flat and features != heads * values:
        raise ValueError(
            f"matrix_state: without a `read_out`, `features` is heads * values = {heads * values}; "
            f"got {features}."
        )
    if isinstance(init, Mapping):
        for name, shape in init.items():
            if not isinstance(shape, tuple):
                raise ValueError(f"matrix_state: `init[{name!r}]` must be a shape, got {shape!r}.")
    structure = MatrixRecurrence(
        access=access,
        read_out=read_out,
        heads=positive_int("matrix_state", "heads", heads),
        keys=positive_int("matrix_state", "keys", keys),
        values=positive_int("matrix_state", "values", values),
        stabilized=stabilized,
        least_log_decay=least_log_decay,
    )

    def draw_weights(key: PRNGKeyArray, in_features: int) -> Params:
        assert isinstance(init, Mapping)
        in_features = positive_int("init", "in_features", in_features)
        return draw(
            key, {name: (weight_init, (in_features, *shape)) for name, shape in init.items()}
        )

    return Cell(
        init=draw_weights if isinstance(init, Mapping) else init,
        initial_carry=structure.initial_carry,
        step=structure.step,
        features=heads * values if features is None else features,
        input_ndim=input_ndim,
        structure=structure,
    )


@dataclasses.dataclass(frozen=True)
class MatrixRecurrence:
    """The parts of a matrix-state cell, for the engine; the fields are those of `matrix_state`."""

    access: Callable[[Params, Any], Access]
    read_out: Callable[[Params, Any, Any], Array]
    heads: int
    keys: int
    values: int
    stabilized: bool = False
    least_log_decay: float | None = None
    owner: str = dataclasses.field(default="", compare=False)
    """The call that made the cell, for errors."""

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        dtype = self.memory_dtype(params)
        memory = jnp.zeros((*batch_shape, self.heads, self.keys, self.values), dtype)
        scale = jnp.zeros((*batch_shape, self.heads), dtype) if self.stabilized else None
        return MatrixState(memory, scale)

    def memory_dtype(self, params: Params) -> Any:
        """That of the parameters, float32 at least."""
        return jnp.result_type(jnp.float32, *floats(params))

    def step(self, params: Params, carry: Carry, x: Any) -> tuple[Carry, PyTree]:
        access = self.checked_access(params, x)
        wide = jax.tree.map(lambda leaf: leaf.astype(carry.memory.dtype), access)
        carry, reading = advance(carry, wide)
        return carry, self.output(params, reading, access, x)

    def checked_access(self, params: Params, x: Any) -> Access:
        """`access`, with what it returns checked."""
        access = self.access(params, x)
        if not isinstance(access, Access):
            raise ValueError(f"{self}: `access` must return an sj.Access, got {access!r}.")
        if isinstance(access.log_decay, int | float) and access.log_decay > 0:
            raise ValueError(
                f"{self}: `log_decay` is the logarithm of a factor of at most 1, so at most 0; got "
                f"{access.log_decay}. Write math.log(0.9) to forget a tenth."
            )
        pair = access.low_rank
        if pair is not None and not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise ValueError(f"{self}: `low_rank` of the Access must be a pair (a, b), got {pair}.")
        access = jax.tree.map(jnp.asarray, access)
        lead = access.query.shape[:-2]
        head, key = (*lead, self.heads), (*lead, self.heads, self.keys)
        access = access._replace(
            log_decay=_repeated(access.log_decay, head, key),
            rate=_repeated(access.rate, head),
            log_input=_repeated(access.log_input, head),
        )
        self._check_shapes(access, head, key)
        if not jnp.issubdtype(self.memory_dtype(params), jnp.complexfloating):
            self._check_real(access)
        self._check_rule(access, key)
        if self.least_log_decay is not None and access.log_decay is not None:
            held = jnp.maximum(access.log_decay, self.least_log_decay)
            access = access._replace(log_decay=held)
        return access

    def _check_shapes(self, access: Access, head: tuple[int, ...], key: tuple[int, ...]) -> None:
        """Raises unless every field has the shape of one number for each head or channel."""
        a, b = (None, None) if access.low_rank is None else access.low_rank
        expected = {
            "query": (access.query, key),
            "key": (access.key, key),
            "value": (access.value, (*head, self.values)),
            "rate": (access.rate, head),
            "erase": (access.erase, key),
            "low_rank[0]": (a, key),
            "low_rank[1]": (b, key),
            "bonus": (access.bonus, key),
            "log_input": (access.log_input, head),
        }
        for name, (array, shape) in expected.items():
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"{self}: `{name}` of the Access must have shape {shape}, got {array.shape}."
                )
        decay = access.log_decay
        if decay is not None and decay.shape not in (key, head):
            raise ValueError(
                f"{self}: `log_decay` must have shape {head}, one for each head, or {key}, one "
                f"for each channel; got {decay.shape}."
            )

    def _check_real(self, access: Access) -> None:
        """Raises if a field is complex."""
        for name, array in access._asdict().items():
            if any(map(jnp.iscomplexobj, jax.tree.leaves(array))):
                raise ComplexError(
                    self,
                    f"`{name}` of the Access holds complex numbers, but the memory is real "
                    "as all parameters are. Give real and imaginary parts as columns, or use "
                    "sj.diagonal with a state of sj.Complex(real, imaginary).",
                )

    def _check_rule(self, access: Access, key: tuple[int, ...]) -> None:
        """Raises if fields do not go together."""
        named = ("rate", "erase", "low_rank")
        given = [name for name in named if getattr(access, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{self}: give {' or '.join(f'`{name}`' for name in given)}, not both."
            )
        if access.bonus is not None and given and given != ["low_rank"]:
            article = "an" if given == ["erase"] else "a"
            raise ValueError(f"{self}: a `bonus` does not go with {article} `{given[0]}`.")
        if (access.log_input is not None) != self.stabilized:
            raise ValueError(
                f"{self}: `log_input` needs matrix_state(..., stabilized=True), and only then it "
                f"is given; got stabilized={self.stabilized} and log_input={access.log_input}."
            )
        per_channel = access.log_decay is not None and access.log_decay.shape == key
        others = (access.rate, access.erase, access.low_rank, access.bonus)
        if self.stabilized and (per_channel or any(other is not None for other in others)):
            raise ValueError(
                f"{self}: `log_input` goes with additive writes that are read afterwards and "
                "with one decay for each head; leave out rate, erase, low_rank, bonus and decays "
                "per channel."
            )

    def output(self, params: Params, reading: Any, access: Access, x: Any) -> PyTree:
        """`read_out` of a reading, in the dtype of the values."""
        dtype = access.value.dtype
        if isinstance(reading, Scaled):
            # Its scale may be far outside the range of a narrow dtype.
            made = self.read_out(params, reading, x)
            return jax.tree.map(lambda leaf: leaf.astype(dtype), made)
        return self.read_out(params, reading.astype(dtype), x)

    def __str__(self) -> str:
        return self.owner or f"matrix_state({spell(self.access)}, heads={self.heads})"


def _repeated(leaf: Array | None, head: tuple[int, ...], key: tuple[int, ...] = ()) -> Array | None:
    """A number, or one for each head or channel, at all steps; an array that does not fit is
    returned unchanged.

    A matrix is not taken to lack axes: its meaning would depend on the batch size.
    """
    if leaf is None:
        return None
    shape = key if leaf.ndim == len(key) > 1 else head
    fits = leaf.ndim in (0, 1, len(shape)) and broadcasts(leaf.shape, shape)
    return jnp.broadcast_to(leaf, shape) if fits else leaf
