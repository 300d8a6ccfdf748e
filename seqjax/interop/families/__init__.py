"""The tables of all families."""

from seqjax.interop.families.equinox_layers import EQUINOX
from seqjax.interop.families.flax_layers import FLAX
from seqjax.interop.families.haiku_layers import HAIKU
from seqjax.interop.families.keras_layers import KERAS
from seqjax.interop.families.mamba_models import MAMBA, MAMBA_ORIGINAL
from seqjax.interop.families.torch_layers import TORCH
from seqjax.interop.table import Family

FAMILIES: tuple[Family, ...] = (
    *TORCH,
    *KERAS,
    *FLAX,
    *HAIKU,
    *EQUINOX,
    MAMBA,
    MAMBA_ORIGINAL,
)
