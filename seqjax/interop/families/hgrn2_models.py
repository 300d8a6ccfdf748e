"""HGRN2: fla's names. All layers learn together what each never forgets more of."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax.cells.linear_attention import hgrn2
from seqjax.core.layers import rms_norm
from seqjax.core.reparametrized import reparametrized
from seqjax.core.trees import widen
from seqjax.interop.families.fla_models import DEFAULTS, REQUIRES, TIED, block, rules
from seqjax.interop.families.trunks import in_a_row, language_model
from seqjax.interop.operations import SplitAxis, T
from seqjax.interop.table import Family, Rule


def _width(config):
    """Of a head."""
    return config["expand_ratio"] or config["hidden_size"] // config["num_heads"]


def _build(config, shapes, rngs):
    features, layers = config["hidden_size"], config["num_hidden_layers"]
    width = _width(config)
    # There, queries are divided by the root of the width, and the epsilon of the norm behind that
    # is a fixed one.
    cell = hgrn2(features, heads=features // width, lower_bound=None, epsilon=1e-5 * width)
    blocks = in_a_row([block(config, cell)] * layers)
    blocks = reparametrized(blocks, SharedLowerBounds(layers, features))
    last = rms_norm(features, epsilon=config["norm_eps"])
    return language_model(config, blocks, last, rngs)


@dataclasses.dataclass(frozen=True)
class SharedLowerBounds:
    """Lower bounds from 0 upwards, one for each feature of each layer, by a cumulative softmax."""

    layers: int
    features: int

    def load(self, params):
        """Cells take their logarithm, so 0 is the smallest number."""
        shares = jax.nn.softmax(widen(params["lower_bounds"]), axis=0)
        bounds = jnp.maximum(jnp.cumsum(shares, axis=0) - shares[:1], jnp.finfo(shares.dtype).tiny)
        return {
            name: _with_cell(params[name], {**params[name]["time"]["cell"], "lower_bound": bound})
            for name, bound in ((f"block_{layer}", bound) for layer, bound in enumerate(bounds))
        }

    def save(self, params):
        def without(cell):
            return {name: leaf for name, leaf in cell.items() if name != "lower_bound"}

        own = {name: _with_cell(one, without(one["time"]["cell"])) for name, one in params.items()}
        return {**own, "lower_bounds": jnp.zeros((self.layers, self.features))}


def _with_cell(block, cell):
    return {**block, "time": {**block["time"], "cell": cell}}


def _rules(config):
    heads = (-1, _width(config))
    named = (("q_proj", "query"), ("f_proj", "forget"), ("i_proj", "input"))
    return (
        Rule("model.lower_bounds", "rnn.blocks.lower_bounds", float32=True),
        *rules(
            *(Rule(f"{theirs}.weight", ours, (T, SplitAxis(1, heads))) for theirs, ours in named),
            Rule("g_norm.weight", "norm_gain"),
            Rule("o_proj.weight", "output", T),
        ),
    )


HGRN2 = Family(
    "hgrn2",
    matches=lambda config, shapes: config.get("model_type") == "hgrn2",
    build=_build,
    rules=_rules,
    defaults={**DEFAULTS, "num_heads": None, "expand_ratio": 128},
    requires={
        **REQUIRES,
        "use_short_conv": False,
        "use_lower_bound": True,
        "elementwise_affine": True,
    },
    tied=TIED,
)
