"""States that keep an exponent apart from their numbers, and what is done with such states.

A state, a NamedTuple, says so by two names of the class:

    class Memory(NamedTuple):
        sums: Array
        maximum: Array

        exponent = "maximum"        # the numbers meant are
        scaled = ("sums",)          # exp(maximum) * sums

The exponent is a gauge: another one with other sums may mean the same numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, Carry


def keeps_exponent(node: Any) -> bool:
    """Whether a node of a carry is a state with an exponent."""
    name = getattr(type(node), "exponent", None)
    return name is not None and getattr(node, name) is not None


def exponent_of(node: Any) -> Array:
    """The exponent of such a state."""
    return getattr(node, node.exponent)


def map_exponents(function: Any, carry: Carry) -> Carry:
    """The carry with a function applied to every exponent in it."""

    def change(node: Any) -> Any:
        if not keeps_exponent(node):
            return node
        return node._replace(**{node.exponent: function(exponent_of(node))})

    return jax.tree.map(change, carry, is_leaf=keeps_exponent)


def mean(rate: float, old: Any, new: Any) -> Any:
    """`rate * old + (1 - rate) * new`, of the numbers that are meant.

    Both are brought to the larger exponent. Zeros have none: a state of zeros is given that of
    the other one, however small.

    Args:
      rate: from 0 to 1.
      old, new: states with an exponent for each number.
    """
    cut = jax.lax.stop_gradient
    exponents = [exponent_of(node) for node in (old, new)]
    empty = [_empty(node) for node in (old, new)]
    largest = jnp.maximum(*exponents)
    largest = cut(jnp.where(empty[0], exponents[1], jnp.where(empty[1], exponents[0], largest)))
    shares = [
        share * jnp.where(none, 0, jnp.exp(jnp.where(none, 0, exponent - largest)))
        for share, none, exponent in zip((rate, 1 - rate), empty, exponents, strict=True)
    ]

    def mix(before: Array, after: Array) -> Array:
        return (shares[0] * before + shares[1] * after).astype(after.dtype)

    fields = {
        name: jax.tree.map(mix, getattr(old, name), getattr(new, name)) for name in new.scaled
    }
    return new._replace(**fields, **{new.exponent: largest})


def _empty(node: Any) -> Array:
    """Where all numbers of a unit are 0."""
    leaves = jax.tree.leaves([getattr(node, name) for name in node.scaled])
    return jnp.stack([leaf == 0 for leaf in leaves]).all(0)
