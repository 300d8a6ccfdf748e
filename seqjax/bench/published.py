"""Published PyTorch implementations of cells of the catalogue, run the way their own users do.

They have the sizes of ours, not its weights: what they compute is compared in `tests/cells/`.
Every entry is a function `(features, time) -> module` that raises `ImportError` if the package is
not installed.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any

HEAD = 64
"""Width of a head, as the models with matrix memories were published with 64 to 128."""


def _minimal_gru(features: int, time: int) -> Any:
    from minGRU_pytorch import minGRU  # pyright: ignore[reportMissingImports]

    return minGRU(features)


def _minimal_lstm(features: int, time: int) -> Any:
    from minGRU_pytorch.minLSTM import minLSTM  # pyright: ignore[reportMissingImports]

    return minLSTM(features)


def _lru(features: int, time: int) -> Any:
    from LRU_pytorch import LRU  # pyright: ignore[reportMissingImports]

    return LRU(features, features, features)


def _s5(features: int, time: int) -> Any:
    from s5 import S5  # pyright: ignore[reportMissingImports]

    return S5(features, features // 2)


def _rg_lru(features: int, time: int) -> Any:
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import RecurrentGemmaConfig  # pyright: ignore[reportMissingImports]
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (  # pyright: ignore[reportMissingImports]
        RecurrentGemmaRglru,
    )

    module = RecurrentGemmaRglru(
        RecurrentGemmaConfig(hidden_size=features, lru_width=features, num_attention_heads=8)
    )
    positions = torch.arange(time)[None]

    def anew(xs: Any) -> Any:
        module.recurrent_states = None
        return module(xs, positions.expand(len(xs), -1))

    return _With(module, anew)


def _mamba(features: int, time: int) -> Any:
    from transformers import MambaConfig  # pyright: ignore[reportMissingImports]
    from transformers.models.mamba.modeling_mamba import (  # pyright: ignore[reportMissingImports]
        MambaMixer,
    )

    return MambaMixer(MambaConfig(hidden_size=features, num_hidden_layers=1), 0)


def _mamba2(features: int, time: int) -> Any:
    from transformers import Mamba2Config  # pyright: ignore[reportMissingImports]
    from transformers.models.mamba2.modeling_mamba2 import (  # pyright: ignore[reportMissingImports]
        Mamba2Mixer,
    )

    config = Mamba2Config(
        hidden_size=features, state_size=64, num_heads=2 * features // HEAD, head_dim=HEAD,
        n_groups=1, chunk_size=64, num_hidden_layers=1,
    )  # fmt: skip
    return Mamba2Mixer(config, 0)


def _gated_delta_net(features: int, time: int) -> Any:
    from transformers import OlmoHybridConfig  # pyright: ignore[reportMissingImports]
    from transformers.models.olmo_hybrid.modeling_olmo_hybrid import (  # pyright: ignore[reportMissingImports]
        OlmoHybridGatedDeltaNet,
    )

    heads = features // HEAD
    config = OlmoHybridConfig(
        hidden_size=features, linear_num_key_heads=heads, linear_num_value_heads=heads,
        linear_key_head_dim=3 * HEAD // 4, linear_value_head_dim=3 * HEAD // 2,
        linear_conv_kernel_dim=4, num_hidden_layers=4,
    )  # fmt: skip
    return OlmoHybridGatedDeltaNet(config, 0)


def _kimi_delta_attention(features: int, time: int) -> Any:
    from transformers import KimiLinearConfig  # pyright: ignore[reportMissingImports]
    from transformers.models.kimi_linear.modeling_kimi_linear import (  # pyright: ignore[reportMissingImports]
        KimiLinearDeltaAttention,
    )

    config = KimiLinearConfig(
        hidden_size=features, linear_num_heads=features // HEAD, linear_head_dim=HEAD,
        linear_conv_kernel_dim=4, num_hidden_layers=4,
    )  # fmt: skip
    return KimiLinearDeltaAttention(config, 0)


def _rwkv4_time_mix(features: int, time: int) -> Any:
    from transformers import RwkvConfig  # pyright: ignore[reportMissingImports]
    from transformers.models.rwkv.modeling_rwkv import (  # pyright: ignore[reportMissingImports]
        RwkvSelfAttention,
    )

    return RwkvSelfAttention(RwkvConfig(hidden_size=features, attention_hidden_size=features))


def _mlstm(features: int, time: int) -> Any:
    from mlstm_kernels.torch.backend_module import (  # pyright: ignore[reportMissingImports]
        mLSTMBackendConfig,
    )
    from xlstm.xlstm_large.model import (  # pyright: ignore[reportMissingImports]
        mLSTMLayer,
        mLSTMLayerConfig,
    )

    backend = mLSTMBackendConfig(
        chunkwise_kernel="chunkwise--native_autograd", sequence_kernel="native_sequence__native",
        step_kernel="native", chunk_size=64, mode="train", autocast_kernel_dtype="float32",
        return_last_states=True,
    )  # fmt: skip
    config = mLSTMLayerConfig(
        embedding_dim=features, num_heads=features // HEAD, mlstm_backend=backend
    )
    return mLSTMLayer(config)


def _mlstm_layer(features: int, time: int) -> Any:
    from xlstm import mLSTMLayer, mLSTMLayerConfig  # pyright: ignore[reportMissingImports]

    return mLSTMLayer(mLSTMLayerConfig(embedding_dim=features, num_heads=4, context_length=time))


PUBLISHED: dict[str, tuple[str, Callable[[int, int], Any]]] = {
    "minimal_gru": ("minGRU-pytorch", _minimal_gru),
    "minimal_lstm": ("minGRU-pytorch", _minimal_lstm),
    "lru": ("LRU-pytorch", _lru),
    "s5": ("s5-pytorch", _s5),
    "rg_lru": ("transformers", _rg_lru),
    "mamba": ("transformers", _mamba),
    "rwkv4_time_mix": ("transformers", _rwkv4_time_mix),
    "mamba2": ("transformers", _mamba2),
    "mlstm": ("xlstm", _mlstm),
    "mlstm_layer": ("xlstm", _mlstm_layer),
    "gated_delta_net": ("transformers", _gated_delta_net),
    "kimi_delta_attention": ("transformers", _kimi_delta_attention),
}
"""The package, and what builds the cell of a name."""


class _With:
    """A module that is called in another way."""

    def __init__(self, module: Any, call: Callable[[Any], Any]):
        self.parameters, self._call = module.parameters, call

    def __call__(self, xs: Any) -> Any:
        return self._call(xs)


def published_step(
    cell: str, features: int, time: int, batch: int
) -> tuple[str, Callable[[], Any]] | None:
    """A train step of somebody else's implementation, as `training.train_step` is one of ours.

    Args:
      cell: name in the catalogue.
      features: width of inputs and outputs.
      time, batch: length and number of the sequences.

    Returns:
      The package with its version and a function that computes the loss `mean(ys ** 2)` and its
      gradients by weights and inputs; None if there is none or it is not installed.
    """
    if cell not in PUBLISHED:
        return None
    package, build = PUBLISHED[cell]
    try:
        import torch  # pyright: ignore[reportMissingImports]

        module = build(features, time)
    except ImportError:
        return None
    torch.manual_seed(0)
    xs = torch.randn(batch, time, features, requires_grad=True)
    weights = list(module.parameters())

    def step() -> Any:
        out = module(xs)
        ys = out[0] if isinstance(out, tuple) else out
        loss = ys.square().mean()
        # Weights that are not used, such as those of another mode, have no gradient.
        return loss, torch.autograd.grad(loss, [xs, *weights], allow_unused=True)

    return f"{package} {importlib.metadata.version(package)}", step
