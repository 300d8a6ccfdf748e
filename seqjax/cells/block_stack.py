"""The blocks of language models by their names, and stacks of them."""

from collections.abc import Callable

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
from seqjax.core.blocks import pipeline, prenorm
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.layers import centred_norm, rms_norm
from seqjax.core.stack import stack

SCALAR_EVERY = 8
"""One in so many blocks of an xLSTM has scalar memories: the paper's xLSTM[7:1]."""


def _xlstm(features: int, layer: int, layers: int) -> Cell:
    if layer % SCALAR_EVERY == 1:
        return slstm_block(features, layer=layer, layers=layers)
    return prenorm(mlstm_layer(features, layers=layers), norm=centred_norm)


BLOCKS: dict[str, Callable[[int, int, int], Cell]] = {
    "gated_delta_net": lambda features, layer, layers: gated_delta_net_block(features),
    "griffin": lambda features, layer, layers: griffin_block(features),
    "hawk": lambda features, layer, layers: griffin_block(features),
    "mamba": lambda features, layer, layers: mamba_block(features, layers=layers),
    "mamba2": lambda features, layer, layers: mamba2_block(features, layers=layers),
    "minimal_gru": lambda features, layer, layers: minimal_gru_block(features),
    "retnet": lambda features, layer, layers: retention_block(features),
    "rwkv4": lambda features, layer, layers: rwkv4_block(features, layer=layer, layers=layers),
    "rwkv6": lambda features, layer, layers: rwkv6_block(features, layer=layer, layers=layers),
    "rwkv7": lambda features, layer, layers: rwkv7_block(features, layer=layer, layers=layers),
    "xlstm": _xlstm,
    "xlstm_7b": lambda features, layer, layers: mlstm_block(features),
}
"""`(features, layer, layers) -> Cell` for each."""


@factory
def block_stack(name: str, features: int, *, layers: int) -> Cell:
    """The trunk of a language model: blocks of one family and a last norm.

    Args:
      name: `"gated_delta_net"`; `"hawk"`, or `"griffin"`, which is the same: there is no local
        attention; `"mamba"`, `"mamba2"`, `"minimal_gru"`, `"retnet"`; `"rwkv4"`, `"rwkv6"` or
        `"rwkv7"`, with one more norm before the first block; `"xlstm"`, the paper's xLSTM[7:1],
        `sj.mlstm_layer` in blocks of which every eighth, from the second on, is a
        `sj.slstm_block` instead; or `"xlstm_7b"`, `sj.mlstm_block` in all.
      features: width of the input, of the blocks and of the output.
      layers: number of blocks.

    Returns:
      A cell with `blocks` and `norm` in its parameters and its carry, and `first` if there is one
      more norm.

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
    blocks = [BLOCKS[name](features, layer, layers) for layer in range(layers)]
    norm = centred_norm if name.startswith(("retnet", "rwkv")) or name == "xlstm" else rms_norm
    parts = {"blocks": stack(*blocks), "norm": norm(features)}
    if name.startswith("rwkv"):
        parts = {"first": norm(features), **parts}
    return pipeline(**parts)
