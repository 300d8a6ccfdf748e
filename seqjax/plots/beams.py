"""The tree of a beam search."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, shorten

LONGEST_TOKEN = 12


def beam_tree(
    trace: Any,
    name: Callable[[int], str] | Sequence[str] = str,
    *,
    chosen: Any = None,
    steps: int | None = None,
) -> Any:
    """The beams of a search, step by step.

    A line leads from each beam to its extensions, darker if more probable, with the token at its
    end. Pruned beams have no extensions.

    Args:
      trace: of one sequence: `Beams.trace` with arrays `(length, beams)`.
      name: the names of tokens, as a function or a sequence.
      chosen: the tokens of the sequence that was found, drawn bold.
      steps: number of steps to show; by default all with a live beam.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the arrays have a batch dimension.
      ImportError: if matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.decode.search import Trace
      >>> from seqjax.plots import beam_tree
      >>> tokens, parents = np.array([[1, 2], [2, 0]]), np.array([[0, 0], [0, 1]])
      >>> trace = Trace(tokens, parents, np.log([[0.6, 0.4], [0.5, 0.1]]))
      >>> [text.get_text() for text in beam_tree(trace, "abc").axes[0].texts]
      ['b', 'c', 'c', 'a']
    """
    tokens, parents, known = (np.asarray(part) for part in trace)
    if tokens.ndim != 2:
        raise ValueError(
            f"beam_tree: expected the trace of one sequence, (length, beams); got {tokens.shape}."
        )
    alive = np.isfinite(known) & (known > -1e30)
    count = int(alive.any(1).sum()) if steps is None else min(steps, len(tokens))
    beams = tokens.shape[1]
    call = name if callable(name) else lambda token: name[token]
    path = _beams_of(chosen, tokens, parents, count)
    figure = new_figure(
        max(4.0, 0.85 * count + 1.2), max(2.0, 0.42 * beams + 1.0), layout="constrained"
    )
    axes = figure.subplots()
    best = np.where(alive, known, -np.inf).max(1, initial=-np.inf)
    for step in range(count):
        for beam in range(beams):
            if not alive[step, beam]:
                continue
            origin = (step, -parents[step, beam] if step else -(beams - 1) / 2)
            bold = path.get(step) == beam
            share = float(np.exp(known[step, beam] - best[step]))
            line = {"color": str(0.75 * (1 - share)), "linewidth": 2.6 if bold else 0.9}
            axes.plot([origin[0], step + 1], [origin[1], -beam], zorder=1, **line)
            axes.text(
                step + 1,
                -beam,
                shorten(call(int(tokens[step, beam])), LONGEST_TOKEN),
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold" if bold else "normal",
                bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "0.6"},
                zorder=2,
            )
    axes.set_xlim(-0.3, count + 0.6)
    axes.set_ylim(-beams + 0.4, 0.6)
    axes.set_xlabel("step")
    axes.set_ylabel("beam, the best on top")
    axes.set_yticks([-beam for beam in range(beams)], [str(beam + 1) for beam in range(beams)])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _beams_of(chosen: Any, tokens: np.ndarray, parents: np.ndarray, count: int) -> dict[int, int]:
    """For each step the beam whose tokens so far are those of the chosen sequence."""
    if chosen is None:
        return {}
    beams = {}
    wanted = np.asarray(chosen).tolist()
    histories: list[list[int]] = [[]] * tokens.shape[1]
    for step in range(count):
        histories = [
            [*histories[int(parent)], int(token)]
            for token, parent in zip(tokens[step], parents[step], strict=True)
        ]
        for beam, history in enumerate(histories):
            if history == wanted[: step + 1]:
                beams[step] = beam
                break
    return beams
