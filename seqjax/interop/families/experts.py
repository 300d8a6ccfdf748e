"""Feed-forward layers of which some are mixtures of experts."""

from seqjax.core.cell import Cell
from seqjax.core.layers import feed_forward
from seqjax.core.mixture_of_experts import mixture_of_experts
from seqjax.interop.operations import Split, Stack, T
from seqjax.interop.table import Rule

EXPERTS = {
    "num_experts": 0,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": None,
}

PRODUCTS = ("gate", "up", "down")
EXPERTS_INWARD = ("channel.cell.experts.gate", "channel.cell.experts.up")
EXPERTS_OUTWARD = "channel.cell.experts.down"


def sparse_layers(config) -> list[bool]:
    """Which layers are mixtures of experts."""
    every, dense = config["decoder_sparse_step"], config["mlp_only_layers"] or ()
    return [
        bool(config["num_experts"]) and layer not in dense and (layer + 1) % every == 0
        for layer in range(config["num_hidden_layers"])
    ]


def feed_forwards(config) -> dict[bool, Cell]:
    """The layers without and with experts, those that there are."""
    width = config["hidden_size"]
    make = {
        False: lambda: feed_forward(width, hidden=config["intermediate_size"]),
        True: lambda: mixture_of_experts(
            width,
            experts=config["num_experts"],
            chosen=config["num_experts_per_tok"],
            hidden=config["moe_intermediate_size"],
            shared=config["shared_expert_intermediate_size"],
            normalized=config["norm_topk_prob"],
        ),
    }
    return {sparse: make[sparse]() for sparse in set(sparse_layers(config))}


def expert_rules(config) -> tuple[Rule, ...]:
    """With the names of Qwen."""
    return (
        Rule("gate.weight", "channel.cell.router", T),
        Rule("shared_expert_gate.weight", "channel.cell.open", T),
        *(
            Rule(f"shared_expert.{name}_proj.weight", f"channel.cell.shared.{name}", T)
            for name in PRODUCTS
        ),
        *stacked_experts(config["num_experts"], *(f"{name}_proj" for name in PRODUCTS)),
    )


def stacked_experts(count: int, gate: str, up: str, down: str) -> tuple[Rule, ...]:
    """The rules of the products of so many experts, each with arrays of its own there."""

    def each(name: str) -> tuple[str, ...]:
        return tuple(f"experts.{one}.{name}.weight" for one in range(count))

    inward = (T, Stack(0), Split(0, 2))
    return (
        (
            Rule((*each(gate), *each(up)), EXPERTS_INWARD, inward),
            Rule(each(down), EXPERTS_OUTWARD, (T, Stack(0))),
        )
        if count
        else ()
    )
