"""What the families of RWKV-6 and RWKV-7 have in common: the trunk, and a config from shapes."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.layers import layer_norm
from seqjax.interop.families.trunks import language_model
from seqjax.interop.table import Shapes
from seqjax.nn.language_model import LanguageModel


def rwkv_model(
    block: Callable[..., Cell], config: Mapping[str, Any], rngs: nnx.Rngs, **options: Any
) -> LanguageModel:
    """A language model of blocks that are told their place, with layer norms around them.

    Args:
      block: makes a block, as `sj.rwkv7_block` does.
      config: `num_hidden_layers`, `norm_eps`, and what `language_model` takes.
      rngs: the source of the parameters' keys.
      **options: of every block.
    """
    layers, width, epsilon = (
        config[name] for name in ("num_hidden_layers", "hidden_size", "norm_eps")
    )
    blocks = [
        block(width, layer=layer, layers=layers, norm_epsilon=epsilon, **options)
        for layer in range(layers)
    ]
    norm = layer_norm(width, epsilon=epsilon)
    return language_model(config, blocks, norm, rngs, first_norm=norm)


def released_config(shapes: Shapes) -> dict[str, Any]:
    """The config of a released `.pth` file, which has none."""
    vocabulary, width = shapes["emb.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": sum(name.endswith(".ln1.weight") for name in shapes),
        "norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }
