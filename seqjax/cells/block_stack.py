"""Trunks of language models: blocks of one family or of several, with norms around them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seqjax.cells.catalogue import CATALOGUE, Trunk
from seqjax.cells.mlstm_layer import mlstm_layer
from seqjax.cells.slstm import slstm_block
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.layers import layer_norm
from seqjax.core.stack import stack

SCALAR_EVERY = 8
"""One block of an xLSTM in eight has scalar memories: the paper's xLSTM[7:1]."""


def _xlstm_block(
    features: int, *, layer: int, layers: int, norm_epsilon: float = 1e-5, **options: Any
) -> Cell:
    if layer % SCALAR_EVERY == 1:
        return slstm_block(
            features, layer=layer, layers=layers, norm_epsilon=norm_epsilon, **options
        )
    memory = mlstm_layer(features, layers=layers, **options)
    return prenorm(memory, norm=layer_norm, epsilon=norm_epsilon)


TRUNKS: dict[str, tuple[Callable[..., Cell], Trunk]] = {
    entry.trunk.name: (entry.make, entry.trunk) for entry in CATALOGUE if entry.trunk
} | {"xlstm": (_xlstm_block, Trunk("xlstm", layer_norm))}
"""For each name the function that makes a block, and how blocks are stacked."""


PARTS: dict[str, tuple[Callable[..., Cell], Trunk]] = {
    entry.name.removesuffix("_block"): (entry.make, entry.trunk or Trunk(entry.name))
    for entry in CATALOGUE
    if entry.family == "block"
}
"""For each block by its own name, as a pattern has it, the same."""

TAKES: dict[str, set[str]] = {
    entry.name.removesuffix("_block"): {
        name
        for make in (entry.make, entry.inside)
        if make is not None
        for name in inspect.signature(make).parameters
    }
    for entry in CATALOGUE
    if entry.family == "block"
}
"""The options of each of them, and of the cell to which it hands on all further ones."""


def _blocks(name: str, features: int, layers: int, options: Mapping[str, Any]) -> list[Cell]:
    """All blocks of one family; some start, or are, as their place among the layers says."""
    make = TRUNKS[name][0]
    takes = inspect.signature(make).parameters

    def block(layer: int) -> Cell:
        places = {"layer": layer, "layers": layers}
        return make(features, **{at: places[at] for at in places if at in takes}, **options)

    return [block(layer) for layer in range(layers)]


def _pattern(
    names: tuple[str, ...], features: int, layers: int, options: Mapping[str, Any]
) -> list[Cell]:
    """Blocks of several families in turn, each with those options that it takes."""
    for option in options:
        if not any(option in TAKES[name] for name in names):
            raise TypeError(f"block_stack: no block of {list(names)} takes {option!r}.")

    def block(name: str) -> Cell:
        own = {option: value for option, value in options.items() if option in TAKES[name]}
        return PARTS[name][0](features, **own)

    blocks = {name: block(name) for name in names}
    return [blocks[names[layer % len(names)]] for layer in range(layers)]


@factory
def block_stack(
    name: str | Sequence[str],
    features: int,
    *,
    layers: int,
    norm_epsilon: float | None = None,
    **options: Any,
) -> Cell:
    """The trunk of a language model: blocks of one family, or of several in turn, and a last norm.

    Args:
      name: `"attention"`, `"comba"`, `"gated_delta_net"`, `"gated_delta_net2"`,
        `"gated_delta_product"`, `"hawk"` (Griffin without its local attention), `"m2rnn"`,
        `"mamba"`, `"mamba2"`, `"mamba3"`, `"minimal_gru"`, `"retnet"`; `"rwkv4"`, `"rwkv6"` or
        `"rwkv7"`, with one more norm before the first block; `"xlstm"`, the paper's xLSTM[7:1]: one
        block in eight, from the second on, is `sj.slstm_block`, the others are `sj.mlstm_layer`
        behind a norm; or `"xlstm_7b"`, which has `sj.mlstm_block` throughout. A sequence is a
        pattern that is repeated, of blocks by the names of their functions: `["griffin", "griffin",
        "attention"]`, of `sj.griffin_block` and `sj.attention_block`, makes a Griffin. Its blocks
        start as if each were alone, and the norms around them are those of the first.
      features: width of the input, of the blocks and of the output.
      layers: number of blocks.
      norm_epsilon: of the norms in front of the parts of blocks, and of those around the blocks; by
        default as each norm has it.
      **options: further arguments of every block, such as `heads=2`; in a pattern of every block
        that takes them.

    Returns:
      A cell with `blocks` and `last_norm` in its parameters and its carry, and `first_norm` if
      there is one more norm.

    Raises:
      ValueError: if there is no such block.
      TypeError: if no block of a pattern takes an option.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> cell = sj.block_stack("rwkv7", 16, layers=2)
      >>> model = sj.nn.LanguageModel(50, cell, embedding_size=16, rngs=nnx.Rngs(0))
      >>> carry, logits = model(jnp.zeros((2, 5), int))
      >>> logits.shape
      (2, 5, 50)
      >>> griffin = sj.block_stack(["griffin", "griffin", "attention"], 16, layers=3, window=8)
      >>> sorted(jax.eval_shape(lambda: griffin.init(jax.random.key(0), 16))["blocks"])
      ['attention_block_2', 'griffin_block_0', 'griffin_block_1']
    """
    layers = positive_int("block_stack", "layers", layers)
    names = (name,) if isinstance(name, str) else tuple(name)
    known = TRUNKS if isinstance(name, str) else PARTS
    unknown = [part for part in names if part not in known]
    if unknown or not names:
        raise ValueError(
            f"block_stack: there is no block {unknown[0] if unknown else ''!r}; there are "
            f"{sorted(known)}."
        )
    trunk = known[names[0]][1]
    norm = trunk.norm(features)
    if norm_epsilon is not None:
        options["norm_epsilon"] = norm_epsilon
        norm = trunk.norm(features, epsilon=norm_epsilon)
    if isinstance(name, str):
        blocks = _blocks(name, features, layers, options)
    else:
        blocks = _pattern(names, features, layers, options)
    first = {"first_norm": norm} if trunk.first_norm else {}
    return stack(**first, blocks=stack(*blocks), last_norm=norm)
