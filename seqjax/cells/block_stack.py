"""The blocks of language models by their names, and stacks of them."""

import inspect
from collections.abc import Callable
from typing import Any

from seqjax.cells.delta import gated_delta_net_block
from seqjax.cells.griffin import griffin_block
from seqjax.cells.mamba import mamba_block
from seqjax.cells.mamba2 import mamba2_block
from seqjax.cells.minimal import minimal_gru_block
from seqjax.cells.mlstm import mlstm_block, mlstm_layer
from seqjax.cells.retention import retention_block
from seqjax.cells.rwkv import rwkv4_block
from seqjax.cells.rwkv6 import rwkv6_block
from seqjax.cells.rwkv7 import rwkv7_block
from seqjax.cells.slstm import slstm_block
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.layers import layer_norm, rms_norm
from seqjax.core.stack import stack

SCALAR_EVERY = 8
"""One in so many blocks of an xLSTM has scalar memories: the paper's xLSTM[7:1]."""


def _xlstm(features: int, *, layer: int, layers: int, **options: Any) -> Cell:
    if layer % SCALAR_EVERY == 1:
        return slstm_block(features, layer=layer, layers=layers, **options)
    return prenorm(mlstm_layer(features, layers=layers, **options), norm=layer_norm)


BLOCKS: dict[str, Callable[..., Cell]] = {
    "gated_delta_net": gated_delta_net_block,
    "griffin": griffin_block,
    "hawk": griffin_block,
    "mamba": mamba_block,
    "mamba2": mamba2_block,
    "minimal_gru": minimal_gru_block,
    "retnet": retention_block,
    "rwkv4": rwkv4_block,
    "rwkv6": rwkv6_block,
    "rwkv7": rwkv7_block,
    "xlstm": _xlstm,
    "xlstm_7b": mlstm_block,
}
"""`(features, **options) -> Cell` for each; those that take `layer` or `layers` are told."""


def _block(make: Callable[..., Cell], features: int, layer: int, layers: int, options: Any) -> Cell:
    takes = inspect.signature(make).parameters
    place = {name: at for name, at in (("layer", layer), ("layers", layers)) if name in takes}
    return make(features, **place, **options)


@factory
def block_stack(name: str, features: int, *, layers: int, **options: Any) -> Cell:
    """The trunk of a language model: blocks of one family and a last norm.

    Args:
      name: `"gated_delta_net"`; `"hawk"`, or `"griffin"`, which is the same: there is no local
        attention; `"mamba"`, `"mamba2"`, `"minimal_gru"`, `"retnet"`; `"rwkv4"`, `"rwkv6"` or
        `"rwkv7"`, with one more norm before the first block; `"xlstm"`, the paper's xLSTM[7:1],
        `sj.mlstm_layer` in blocks of which every eighth, from the second on, is a
        `sj.slstm_block` instead; or `"xlstm_7b"`, `sj.mlstm_block` in all.
      features: width of the input, of the blocks and of the output.
      layers: number of blocks.
      **options: what else each block is told, such as `heads=2`.

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
    if name not in BLOCKS:
        raise ValueError(f"block_stack: there is no block {name!r}; there are {sorted(BLOCKS)}.")
    layers = positive_int("block_stack", "layers", layers)
    blocks = [_block(BLOCKS[name], features, layer, layers, options) for layer in range(layers)]
    norm = layer_norm if name.startswith(("retnet", "rwkv")) or name == "xlstm" else rms_norm
    parts = {"blocks": stack(*blocks), "last_norm": norm(features)}
    if name.startswith("rwkv"):
        parts = {"first_norm": norm(features), **parts}
    return stack(**parts)
