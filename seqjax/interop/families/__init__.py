"""The tables of all families."""

from seqjax.interop.families.delta_models import DELTA_NET, GATED_DELTA_NET, KDA
from seqjax.interop.families.equinox_layers import EQUINOX
from seqjax.interop.families.fla_models import GLA, RETNET
from seqjax.interop.families.flax_layers import FLAX
from seqjax.interop.families.gemma_models import RECURRENT_GEMMA
from seqjax.interop.families.haiku_layers import HAIKU
from seqjax.interop.families.hgrn2_models import HGRN2
from seqjax.interop.families.keras_layers import KERAS
from seqjax.interop.families.kimi_models import KIMI_LINEAR
from seqjax.interop.families.mamba2_models import MAMBA2, MAMBA2_ORIGINAL
from seqjax.interop.families.mamba_models import FALCON_MAMBA, MAMBA, MAMBA_ORIGINAL
from seqjax.interop.families.olmo_models import OLMO_HYBRID
from seqjax.interop.families.qwen_models import QWEN3_5, QWEN3_5_TEXT, QWEN3_NEXT
from seqjax.interop.families.rwkv4_models import RWKV4, RWKV4_PTH
from seqjax.interop.families.rwkv6_models import RWKV6, RWKV6_PTH
from seqjax.interop.families.rwkv7_models import RWKV7, RWKV7_PTH
from seqjax.interop.families.torch_layers import TORCH
from seqjax.interop.families.xlstm_models import XLSTM
from seqjax.interop.families.xlstm_paper_models import XLSTM_PAPER
from seqjax.interop.table import Family

LAYERS: tuple[Family, ...] = (*TORCH, *KERAS, *FLAX, *HAIKU, *EQUINOX)
"""Of recurrent layers of other libraries, which no config names."""

FAMILIES: tuple[Family, ...] = (
    *LAYERS,
    MAMBA,
    MAMBA_ORIGINAL,
    FALCON_MAMBA,
    MAMBA2,
    MAMBA2_ORIGINAL,
    RWKV4,
    RWKV4_PTH,
    RWKV6,
    RWKV6_PTH,
    RWKV7,
    RWKV7_PTH,
    XLSTM,
    XLSTM_PAPER,
    RETNET,
    GLA,
    HGRN2,
    DELTA_NET,
    GATED_DELTA_NET,
    KDA,
    KIMI_LINEAR,
    RECURRENT_GEMMA,
    OLMO_HYBRID,
    QWEN3_NEXT,
    QWEN3_5,
    QWEN3_5_TEXT,
)
