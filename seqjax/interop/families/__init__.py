"""The tables of all families."""

from seqjax.interop.families.mamba_models import MAMBA, MAMBA_ORIGINAL
from seqjax.interop.table import Family

FAMILIES: tuple[Family, ...] = (MAMBA, MAMBA_ORIGINAL)
