"""Writes the golden files of the blocks, like `make_cells.py` and with its packages.

python -m tests.golden.make_blocks [case ...] [--check]
"""

import functools

from tests.golden.make_cells import BATCH, FEATURES, HEADS, TIME, in_double, main


def griffin_block():
    import torch
    from transformers import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma import modeling_recurrent_gemma as gemma

    config = RecurrentGemmaConfig(
        hidden_size=FEATURES, lru_width=6, num_attention_heads=HEADS, num_hidden_layers=1,
        intermediate_size=6 * FEATURES,
    )  # fmt: skip
    module = gemma.RecurrentGemmaDecoderLayer(config, 0).double()
    lru = module.temporal_block.rg_lru
    lru._rnn_scan = functools.partial(lru._rnn_scan, acc_dtype=torch.float64)
    positions = torch.arange(TIME)[None].expand(BATCH, -1)
    return FEATURES, lambda xs: module(xs, positions, None, use_cache=False), module


def rwkv4_block():
    from transformers import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvBlock

    config = RwkvConfig(hidden_size=FEATURES, attention_hidden_size=FEATURES)
    # The first has the norm behind the embedding as well.
    module = RwkvBlock(config, 1)
    return FEATURES, lambda xs: module(xs)[0], module


def slstm_block():
    from xlstm import FeedForwardConfig, sLSTMBlock, sLSTMBlockConfig, sLSTMLayerConfig

    layer = sLSTMLayerConfig(
        embedding_dim=FEATURES, num_heads=HEADS, conv1d_kernel_size=4, backend="vanilla",
        enable_automatic_mixed_precision=False, dtype="float32",
    )  # fmt: skip
    after = FeedForwardConfig(proj_factor=4 / 3, round_proj_up_to_multiple_of=6)
    config = sLSTMBlockConfig(slstm=layer, feedforward=after, _num_blocks=1, _block_idx=0)
    with in_double():
        module = sLSTMBlock(config)
    return FEATURES, module, module


CASES = {"griffin_block": griffin_block, "rwkv4_block": rwkv4_block, "slstm_block": slstm_block}


if __name__ == "__main__":
    main(CASES)
