"""Spans, such as names, marked in the text in which they were found."""

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from seqjax.plots.figure import new_figure, shorten

WIDTH, MARGIN = 540.0, 12.0
LINE, TOP = 46.0, 34.0
SIZE, SMALL, SPACE = 12.0, 8.0, 6.5
"""All in points, of which an inch has 72."""

LONGEST_TOKEN = 60


class Place(NamedTuple):
    """Where a token stands: its line, from 0 at the top, and its two ends."""

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
    kind below, so what was missed has no box, and what was invented no line. Lines are
    broken as the text needs; a span may go on in the next one. Tokens of more than 60
    characters lose their middle.

    Text whose first letter with a direction is written from right to left (Hebrew, Arabic)
    runs from right to left. Within a token matplotlib puts the letters in order and joins
    them from version 3.11 on; older ones draw the letters of such a token from left to
    right, unjoined. Signs that the font does not have (matplotlib's own has no Chinese, for
    instance) come out as boxes: set `matplotlib.rcParams["font.family"]`.

    Args:
      tokens: the words.
      predicted: `(kind, start, stop)` of each span, `stop` not included, such as
        `seqjax.metrics.find_spans` gives.
      truth: the same for the true spans; None if they are not known.

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
    places = _arrange(widths, room)
    reverse = _right_to_left(tokens)
    if reverse:
        places = [Place(line, WIDTH - right, WIDTH - left) for line, left, right in places]
    lines = places[-1].line + 1 if places else 0
    height = TOP + lines * LINE + MARGIN
    figure.set_size_inches(WIDTH / 72, height / 72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)

    def baseline(line: int) -> float:
        return TOP + (line + 0.6) * LINE

    for token, place in zip(tokens, places, strict=True):
        side, x = ("right", place.right) if reverse else ("left", place.left)
        axes.text(x, baseline(place.line), token, fontsize=SIZE, ha=side)
    for kind, start, stop in predicted:
        for part in _parts(places[start:stop]):
            _box(axes, part, baseline(part.line))
            _label(axes, kind, part, baseline(part.line) - 15)
    for kind, start, stop in truth or ():
        for part in _parts(places[start:stop]):
            _underline(axes, part, baseline(part.line))
            _label(axes, kind, part, baseline(part.line) + 14)
    _legend(axes, width_of, truth is not None)
    return figure


def _ruler(figure: Any) -> Any:
    """`(text, size) -> width` in points, about as it will be drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()

    def width_of(text: str, size: float) -> float:
        probe = figure.text(0, 0, text, fontsize=size)
        pixels = probe.get_window_extent(renderer).width
        probe.remove()
        # Letters are set on whole pixels, so on other screens the width differs a little.
        return 1.03 * pixels * 72 / figure.dpi

    return width_of


def _room_for_kinds(
    spans: Sequence[tuple[str, int, int]], widths: Sequence[float], width_of: Any
) -> list[tuple[float, float]]:
    """What to leave free before and after each token, so that long kinds do not collide."""
    room = [[0.0, 0.0] for _ in widths]
    for kind, start, stop in spans:
        inside = sum(widths[start:stop]) + SPACE * (stop - start - 1)
        beside = max(0.0, width_of(kind, SMALL) - inside) / 2
        room[start][0] = max(room[start][0], beside)
        room[stop - 1][1] = max(room[stop - 1][1], beside)
    return [(before, after) for before, after in room]


def _arrange(widths: Sequence[float], room: Sequence[tuple[float, float]]) -> list[Place]:
    """Tokens one after the other from left to right, a new line where one is full."""
    places, line, left = [], 0, MARGIN
    for width, (before, after) in zip(widths, room, strict=True):
        if left > MARGIN and left + before + width + after > WIDTH - MARGIN:
            line, left = line + 1, MARGIN
        left += before
        places.append(Place(line, left, left + width))
        left += width + after + SPACE
    return places


def _right_to_left(tokens: Sequence[str]) -> bool:
    directions = (unicodedata.bidirectional(sign) for token in tokens for sign in token)
    return next((way != "L" for way in directions if way in ("L", "R", "AL")), False)


def _parts(places: Sequence[Place]) -> list[Place]:
    """The stretch of a span in each of the lines that it touches."""
    lines: dict[int, list[Place]] = {}
    for place in places:
        lines.setdefault(place.line, []).append(place)
    return [
        Place(line, min(p.left for p in own), max(p.right for p in own))
        for line, own in lines.items()
    ]


def _box(axes: Any, part: Place, baseline: float) -> None:
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


def _underline(axes: Any, part: Place, baseline: float) -> None:
    axes.plot(
        [part.left, part.right], [baseline + 6.5] * 2, color="black", linewidth=1.4, linestyle="--"
    )


def _label(axes: Any, kind: str, part: Place, height: float) -> None:
    axes.text((part.left + part.right) / 2, height, kind, fontsize=SMALL, ha="center")


def _legend(axes: Any, width_of: Any, with_truth: bool) -> None:
    baseline = 16.0
    words = ["predicted", "true"] if with_truth else ["predicted"]
    left = MARGIN
    for word, mark in zip(words, (_box, _underline), strict=False):
        part = Place(0, left, left + width_of(word, SMALL))
        mark(axes, part, baseline)
        axes.text(part.left, baseline - 1, word, fontsize=SMALL)
        left = part.right + 14
