"""Trunks of language models: blocks of one family, with norms around them."""

import inspect
from collections.abc import Callable
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


def _block(make: Callable[..., Cell], features: int, layer: int, layers: int, options: Any) -> Cell:
    takes = inspect.signature(make).parameters
    position = {name: at for name, at in (("layer", layer), ("layers", layers)) if name in takes}
    return make(features, **position, **options)


@factory
def block_stack(
    name: str,
    features: int,
    *,
    layers: int,
    norm_epsilon: float | None = None,
    **options: Any,
) -> Cell:
    """The trunk of a language model: blocks of one family and a last norm.

    Args:
      name: `"gated_delta_net"`, `"hawk"` (Griffin without its local attention), `"mamba"`,
        `"mamba2"`, `"minimal_gru"`, `"retnet"`; `"rwkv4"`, `"rwkv6"` or `"rwkv7"`, with one more
        norm before the first block; `"xlstm"`, the paper's xLSTM[7:1]: one block in eight, from
        the second on, is `sj.slstm_block`, the others are `sj.mlstm_layer` behind a norm; or
        `"xlstm_7b"`, which has `sj.mlstm_block` throughout.
      features: width of the input, of the blocks and of the output.
      layers: number of blocks.
      norm_epsilon: of the norms in front of the parts of blocks, and of those around the blocks; by
        default as each norm has it.
      **options: further arguments of every block, such as `heads=2`.

    Returns:
      A cell with `blocks` and `last_norm` in its parameters and its carry, and `first_norm` if
      there is one more norm.

    Raises:
      ValueError: if there is no such block.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> cell = sj.block_stack("rwkv7", 16, layers=2)
      >>> model = sj.nn.LanguageModel(50, cell, embedding_size=16, rngs=nnx.Rngs(0))
      >>> carry, logits = model(jnp.zeros((2, 5), int))
      >>> logits.shape
      (2, 5, 50)
    """
    if name not in TRUNKS:
        raise ValueError(f"block_stack: there is no block {name!r}; there are {sorted(TRUNKS)}.")
    layers = positive_int("block_stack", "layers", layers)
    make, trunk = TRUNKS[name]
    epsilon, norm = {}, trunk.norm(features)
    if norm_epsilon is not None:
        epsilon, norm = {"norm_epsilon": norm_epsilon}, trunk.norm(features, epsilon=norm_epsilon)
    blocks = [_block(make, features, layer, layers, options | epsilon) for layer in range(layers)]
    first = {"first_norm": norm} if trunk.first_norm else {}
    return stack(**first, blocks=stack(*blocks), last_norm=norm)
