"""One step of a sequence as a map of vectors, and rows of its Jacobians."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import StepFn
from seqjax.core.trees import floats, is_float, put_floats
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.engines.placement import all_varying


def vector(leaves: Sequence[Array], dtype: Any) -> Array:
    """All numbers of some arrays, one array after the other."""
    parts = [leaf.reshape(-1).astype(dtype) for leaf in leaves]
    return jnp.concatenate(parts) if parts else jnp.zeros((0,), dtype)


def leaves_of(numbers: Array, like: Sequence[Any]) -> list[Array]:
    """The arrays that `vector` made one of, in their own dtypes."""
    found, start = [], 0
    for leaf in like:
        part = numbers[start : start + leaf.size]
        found.append(part.reshape(leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return found


def wide_dtype(tree: PyTree) -> Any:
    """In which influences of a state are held: float32 at least."""
    return jnp.result_type(jnp.float32, *floats(tree))


def chosen(params: Params, which: Sequence[int]) -> list[Array]:
    """Some of the floating-point leaves of the parameters."""
    leaves = floats(params)
    return [leaves[index] for index in which]


def put_chosen(params: Params, which: Sequence[int], weights: Sequence[Array]) -> Params:
    """The parameters with some of their floating-point leaves replaced."""
    leaves = floats(params)
    for index, leaf in zip(which, weights, strict=True):
        leaves[index] = leaf
    return put_floats(params, leaves)


def state_after(
    step: StepFn, params: Params, which: Sequence[int], carry: Carry, x: PyTree
) -> Callable[[list[Array], list[Array]], list[Array]]:
    """`(weights, numbers) -> numbers`: the floating-point leaves of a state after a step."""

    def move(weights: list[Array], numbers: list[Array]) -> list[Array]:
        new, _ = step(put_chosen(params, which, weights), put_floats(carry, numbers), x)
        return floats(new)

    return move


def initial_state(
    initial_carry: Callable[..., Carry], params: Params, which: Sequence[int]
) -> Callable[[list[Array]], list[Array]]:
    """`weights -> numbers`: those of the state that a sequence starts from."""
    return lambda weights: floats(initial_carry(put_chosen(params, which, weights)))


def pulled(
    function: Callable[..., list[Array]], args: Sequence[list[Array]], seeds: Array
) -> tuple[Array, ...]:
    """`seeds @ J` for the Jacobian with respect to each argument, `(seeds, size)` each.

    Args:
      function: of lists of arrays, to a list of n numbers in all.
      args: where to take the Jacobian.
      seeds: `(seeds, n)`.
    """
    # Inside `shard_map` seeds may vary where results do not, and the other way round.
    args = all_varying((args, seeds))[0]
    after, pull = jax.vjp(lambda *args: all_varying((function(*args), seeds))[0], *args)

    def row(seed: Array) -> tuple[Array, ...]:
        found = pull(all_varying((leaves_of(seed, after), after))[0])
        return tuple(vector(leaves, seeds.dtype) for leaves in found)

    return jax.vmap(row)(seeds)


def expect_real_state(owner: str, carry: Carry) -> None:
    """Raises if a leaf of the state is complex."""
    if any(map(jnp.iscomplexobj, floats(carry))):
        raise ValueError(
            f"{owner}: expected a state of real numbers, as an influence is a table of real "
            "derivatives; got complex leaves. Keep both parts as leaves of their own, as "
            "sj.Complex does."
        )


def one_row(tree: PyTree) -> PyTree:
    """Arrays like those of a tree of arrays or shapes, with harmless numbers."""

    def fill(leaf: Any) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(0), leaf.shape)
        return jnp.full(leaf.shape, 0.5 if is_float(leaf) else 0, leaf.dtype)

    return jax.tree.map(fill, tree)
