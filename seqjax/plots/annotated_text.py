"""Spans, such as named entities, marked in their text."""

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from seqjax.plots.figure import new_figure, shorten

WIDTH, MARGIN = 540.0, 12.0
LINE, TOP = 46.0, 34.0
SIZE, SMALL, SPACE = 12.0, 8.0, 6.5
"""In points, 72 per inch."""

LONGEST_TOKEN = 60


class Extent(NamedTuple):
    """The extent of a token: its line, from 0 at the top, and its two ends."""

    line: int
    left: float
    right: float


def spans_over_text(
    tokens: Sequence[str],
    predicted: Sequence[tuple[str, int, int]],
    truth: Sequence[tuple[str, int, int]] | None = None,
) -> Any:
    """A text with its predicted spans in boxes and its true spans underlined.

    A predicted span is a grey box with its kind above, a true one a dashed line with its
    kind below, so that false negatives have no box and false positives no line. Text and spans wrap
    to the next line. The middle of tokens longer than 60 characters is elided.

    A text whose first letter with a direction is right-to-left (Hebrew, Arabic) is set from right
    to left. From version 3.11 on, matplotlib orders and shapes the letters of such tokens; older
    versions draw them from left to right, unshaped. Glyphs missing in the font (matplotlib's own
    has no Chinese, for instance) become boxes: set `matplotlib.rcParams["font.family"]`.

    Args:
      tokens: the words.
      predicted: `(kind, start, stop)` of each span, `stop` exclusive, such as from
        `seqjax.metrics.find_spans`.
      truth: the same for the true spans; None if unknown.

    Returns:
      A `matplotlib.figure.Figure`, higher for longer texts.

    Raises:
      ValueError: if a span lies outside the text.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import spans_over_text
      >>> figure = spans_over_text(["Ada", "met", "Bob"], [("PER", 0, 1)], [("PER", 2, 3)])
      >>> [text.get_text() for text in figure.axes[0].texts[:5]]
      ['Ada', 'met', 'Bob', 'PER', 'PER']
    """
    for kind, start, stop in (*predicted, *(truth or ())):
        if not 0 <= start < stop <= len(tokens):
            raise ValueError(
                f"spans_over_text: the span {(kind, start, stop)} does not lie in a text of "
                f"{len(tokens)} tokens."
            )
    figure = new_figure(WIDTH / 72, 1.0)
    width_of = _ruler(figure)
    tokens = [shorten(token, LONGEST_TOKEN) for token in tokens]
    widths = [width_of(token, SIZE) for token in tokens]
    room = _room_for_kinds((*predicted, *(truth or ())), widths, width_of)
    extents = _arrange(widths, room)
    reverse = _right_to_left(tokens)
    if reverse:
        extents = [Extent(line, WIDTH - right, WIDTH - left) for line, left, right in extents]
    lines = extents[-1].line + 1 if extents else 0
    height = TOP + lines * LINE + MARGIN
    figure.set_size_inches(WIDTH / 72, height / 72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)

    def baseline(line: int) -> float:
        return TOP + (line + 0.6) * LINE

    for token, extent in zip(tokens, extents, strict=True):
        side, x = ("right", extent.right) if reverse else ("left", extent.left)
        axes.text(x, baseline(extent.line), token, fontsize=SIZE, ha=side)
    for kind, start, stop in predicted:
        for part in _parts(extents[start:stop]):
            _box(axes, part, baseline(part.line))
            _label(axes, kind, part, baseline(part.line) - 15)
    for kind, start, stop in truth or ():
        for part in _parts(extents[start:stop]):
            _underline(axes, part, baseline(part.line))
            _label(axes, kind, part, baseline(part.line) + 14)
    _legend(axes, width_of, truth is not None)
    return figure


def _ruler(figure: Any) -> Any:
    """`(text, size) -> width` in points, approximately as drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()

    def width_of(text: str, size: float) -> float:
        probe = figure.text(0, 0, text, fontsize=size)
        pixels = probe.get_window_extent(renderer).width
        probe.remove()
        # Letters are set on whole pixels, so the width depends slightly on the resolution.
        return 1.03 * pixels * 72 / figure.dpi

    return width_of


def _room_for_kinds(
    spans: Sequence[tuple[str, int, int]], widths: Sequence[float], width_of: Any
) -> list[tuple[float, float]]:
    """The space before and after each token, so that long kinds do not overlap."""
    room = [[0.0, 0.0] for _ in widths]
    for kind, start, stop in spans:
        inside = sum(widths[start:stop]) + SPACE * (stop - start - 1)
        beside = max(0.0, width_of(kind, SMALL) - inside) / 2
        room[start][0] = max(room[start][0], beside)
        room[stop - 1][1] = max(room[stop - 1][1], beside)
    return [(before, after) for before, after in room]


def _arrange(widths: Sequence[float], room: Sequence[tuple[float, float]]) -> list[Extent]:
    """The extents of tokens set from left to right, with line breaks."""
    extents, line, left = [], 0, MARGIN
    for width, (before, after) in zip(widths, room, strict=True):
        if left > MARGIN and left + before + width + after > WIDTH - MARGIN:
            line, left = line + 1, MARGIN
        left += before
        extents.append(Extent(line, left, left + width))
        left += width + after + SPACE
    return extents


def _right_to_left(tokens: Sequence[str]) -> bool:
    directions = (unicodedata.bidirectional(sign) for token in tokens for sign in token)
    return next((way != "L" for way in directions if way in ("L", "R", "AL")), False)


def _parts(extents: Sequence[Extent]) -> list[Extent]:
    """The extent of a span in each of its lines."""
    lines: dict[int, list[Extent]] = {}
    for extent in extents:
        lines.setdefault(extent.line, []).append(extent)
    return [
        Extent(line, min(p.left for p in own), max(p.right for p in own))
        for line, own in lines.items()
    ]


def _box(axes: Any, part: Extent, baseline: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (part.left - 2, baseline - 12)
    axes.add_patch(
        Rectangle(
            corner,
            part.right - part.left + 4,
            16,
            facecolor="0.85",
            edgecolor="black",
            linewidth=0.8,
            zorder=0.5,
        )
    )


def _underline(axes: Any, part: Extent, baseline: float) -> None:
    axes.plot(
        [part.left, part.right], [baseline + 6.5] * 2, color="black", linewidth=1.4, linestyle="--"
    )


def _label(axes: Any, kind: str, part: Extent, height: float) -> None:
    axes.text((part.left + part.right) / 2, height, kind, fontsize=SMALL, ha="center")


def _legend(axes: Any, width_of: Any, with_truth: bool) -> None:
    baseline = 16.0
    words = ["predicted", "true"] if with_truth else ["predicted"]
    left = MARGIN
    for word, mark in zip(words, (_box, _underline), strict=False):
        part = Extent(0, left, left + width_of(word, SMALL))
        mark(axes, part, baseline)
        axes.text(part.left, baseline - 1, word, fontsize=SMALL)
        left = part.right + 14
