"""Draws `architecture.svg`, the way from `sj.scan` to a backward pass.

python docs/pictures/architecture.py
"""

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

WIDTH, HEIGHT = 15.3, 9.9
LEFT, RIGHT, GAP = 1.55, 14.6, 0.16
MIDDLE = (LEFT + RIGHT) / 2
INK, GREY, LINE, BAR, PAPER, PALE = "#1f2430", "#5b6472", "#9aa3b2", "#e9ecf2", "#ffffff", "#cfd6e4"
MONOSPACED: dict[str, Any] = {"family": "monospace", "weight": "bold"}


class Engine(NamedTuple):
    """A column."""

    structure: str
    built_by: str
    gives: str
    file: str
    methods: str
    forward: str
    stored: str
    tangents: str
    backward: str
    dark: str
    light: str


ENGINES = (
    Engine(
        structure="step alone",
        built_by="sj.Cell",
        gives="any function of one step",
        file="sequential.py",
        methods="plain",
        forward="lax.scan over step",
        stored="residuals of all\noperations of all steps",
        tangents="JAX's own",
        backward="every step adds to the\ngradients of all weights",
        dark="#57606f",
        light="#eef0f3",
    ),
    Engine(
        structure="Recurrence",
        built_by="sj.gated",
        gives="gates, products, update",
        file="bptt.py",
        methods="gated_steps.py: recompute, store",
        forward="W x: one product per tile;\nloop: U h and the update",
        stored="all states\n(store: gates as well)",
        tangents="gates and terms in dW, dU:\none product each per tile;\n"
        "loop: the state's tangent",
        backward="loop: one product with Uᵀ;\nthen one product per\nweight and tile",
        dark="#1f5fa8",
        light="#e6eff9",
    ),
    Engine(
        structure="AnyStep",
        built_by="sj.attentive",
        gives="a step, time as a batch axis",
        file="bptt.py",
        methods="any_steps.py: recompute",
        forward="lax.scan over step",
        stored="all states",
        tangents="terms in the weights and in\nattention: one jvp per tile;\n"
        "loop: the state's tangent",
        backward="loop: the state's cotangent;\nthen one vjp per tile",
        dark="#0f7b72",
        light="#e2f3f1",
    ),
    Engine(
        structure="Diagonal",
        built_by="sj.linear, sj.diagonal",
        gives="decay and value",
        file="diagonal.py",
        methods="prefix.py: chunked, associative",
        forward="products: once per tile;\ninside, an associative scan\n(on a CPU, single steps)",
        stored="states between tiles",
        tangents="the same recurrence,\nrun on the tangents",
        backward="each tile recomputed;\nthe adjoint recurrence,\nbackwards in time",
        dark="#a35a00",
        light="#fbf0e0",
    ),
    Engine(
        structure="MatrixRecurrence",
        built_by="sj.matrix_state",
        gives="forget, write, read",
        file="chunkwise.py",
        methods="matrix_tile.py: chunked",
        forward="intra-chunk products, all at\nonce (WY form); loop over\n"
        "chunks; all readings at once",
        stored="memories between tiles",
        tangents="JAX's own, of\nmatrix products",
        backward="each tile recomputed;\nloop over chunks: the\nmemory's cotangent",
        dark="#7a3b93",
        light="#f4eaf8",
    ),
)


def box(axes: Axes, x: float, top: float, width: float, height: float, face: str, edge: str):
    """A rounded box by its upper left corner."""
    style = "round,pad=0,rounding_size=0.09"
    low = top - height
    patch = FancyBboxPatch((x, low), width, height, boxstyle=style, fc=face, ec=edge, lw=1.4)
    axes.add_patch(patch)


def arrow(axes: Axes, start: tuple, end: tuple, color: str, bend: str = "arc3"):
    """An arrow from point to point."""
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "color": color, "lw": 1.6}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, connectionstyle=bend, **look))


def write(axes: Axes, x: float, y: float, words: str, size: float, color: str = INK, **options):
    """Words, centred unless told otherwise."""
    settings = {"ha": "center", "va": "center", "linespacing": 1.25} | options
    axes.text(x, y, words, fontsize=size, color=color, **settings)


def bar(axes: Axes, top: float, height: float, title: str, words: str, *, dark: bool):
    """A bar through all columns, with a title in code and words below."""
    box(axes, LEFT, top, RIGHT - LEFT, height, *((INK, INK) if dark else (BAR, LINE)))
    write(axes, MIDDLE, top - 0.36 * height, title, 11.5, PAPER if dark else INK, **MONOSPACED)
    write(axes, MIDDLE, top - 0.72 * height, words, 9.5, PALE if dark else GREY)


def column(axes: Axes, engine: Engine, x: float, width: float):
    """What one engine does, from top to bottom."""
    dark, light, centre = engine.dark, engine.light, x + width / 2
    down = lambda start, end: arrow(axes, (centre, start), (centre, end), dark)  # noqa: E731
    down(8.02, 7.72)
    box(axes, x, 7.72, width, 1.0, PAPER, dark)
    write(axes, centre, 7.46, engine.structure, 11, dark, **MONOSPACED)
    write(axes, centre, 7.17, engine.built_by, 9, family="monospace")
    write(axes, centre, 6.93, engine.gives, 9, GREY)
    down(6.72, 6.46)
    box(axes, x, 6.46, width, 0.72, dark, dark)
    write(axes, centre, 6.22, engine.file, 11, PAPER, **MONOSPACED)
    write(axes, centre, 5.95, engine.methods, 9, PAPER)
    rows = (
        (5.48, 0.84, engine.forward),
        (4.38, 0.58, engine.stored),
        (3.54, 0.84, engine.tangents),
        (1.92, 0.84, engine.backward),
    )
    down(5.74, 5.48)
    for top, height, words in rows:
        box(axes, x, top, width, height, light, light)
        write(axes, centre, top - height / 2, words, 9)
        down(top - height, top - height - 0.26)
    down(2.18, 1.92)


def draw() -> Figure:
    """The picture."""
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")
    call = "sj.scan(cell, params, xs, carry, lengths, mask, resets, reverse, truncate, method)"
    told = "scan.py, request.py: checks; time-major from here on; valid steps, resets, cuts"
    bar(axes, 9.7, 0.78, call, told, dark=True)
    arrow(axes, (MIDDLE, 8.92), (MIDDLE, 8.66), INK)
    told = "dispatch.py: the engine of each part; boundaries.py: cut, reset, step, hold"
    bar(axes, 8.66, 0.64, "run_cell", told, dark=False)
    words = "checkpoint_every:\nchunk by chunk"
    write(axes, LEFT + 0.16, 8.34, words, 8.5, GREY, ha="left")
    words = "stack, residual, bidirectional, ...:\nrun_cell for each part"
    write(axes, RIGHT - 0.16, 8.34, words, 8.5, GREY, ha="right")
    bend = "arc,angleA=0,angleB=0,armA=26,armB=26,rad=12"
    arrow(axes, (RIGHT, 8.22), (RIGHT, 8.48), GREY, bend)

    width = (RIGHT - LEFT - GAP * (len(ENGINES) - 1)) / len(ENGINES)
    for number, engine in enumerate(ENGINES):
        column(axes, engine, LEFT + number * (width + GAP), width)
    labels = {
        7.22: "the cell\nexposes",
        6.1: "engine",
        5.06: "forward",
        4.09: "stored",
        3.12: "tangents",
        1.5: "backward",
    }
    for y, label in labels.items():
        write(axes, LEFT - 0.18, y, label, 10, GREY, ha="right", weight="bold")
    box(axes, LEFT, 2.44, RIGHT - LEFT, 0.26, BAR, LINE)
    write(axes, MIDDLE, 2.31, "JAX transposes the linear map of tangents", 9.5, GREY)
    told = "placement.py: with the batch split over devices, one all-reduce outside of all loops"
    bar(axes, 0.82, 0.66, "gradients of params, carry and xs", told, dark=True)
    return figure


if __name__ == "__main__":
    mpl.rcParams |= {"svg.fonttype": "path", "svg.hashsalt": "seqjax", "font.family": "DejaVu Sans"}
    path = Path(__file__).with_suffix(".svg")
    draw().savefig(path, metadata={"Date": None})
    print(path)
