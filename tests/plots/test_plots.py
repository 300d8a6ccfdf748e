"""What is in the pictures: axes, labels, lines and places, not pixels."""

import itertools
import pickle
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seqjax.plots import (
    alignment,
    attention_over_series,
    beam_tree,
    confusion_matrix,
    ctc_posteriors,
    forecast,
    frames_with_labels,
    spans_over_text,
)
from seqjax.plots.figure import new_figure, shorten


def drawn(figure):
    """Drawn once, so that warnings and errors that only drawing meets are met."""
    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure).draw()
    return figure


def words(axes):
    return [text.get_text() for text in axes.texts]


def inside(figure, axes):
    """Whether all that is written at the axes lies on the figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [*axes.texts]
    if axes.axison:
        texts += [*axes.get_xticklabels(), *axes.get_yticklabels()]
        texts += [axes.xaxis.label, axes.yaxis.label]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    width, height = figure.bbox.width + 1, figure.bbox.height + 1
    return all(b.x0 >= -1 and b.y0 >= -1 and b.x1 <= width and b.y1 <= height for b in boxes)


# Confusion matrices.


def test_a_confusion_matrix_shows_counts_and_shares():
    axes, bar = drawn(confusion_matrix([[8, 2], [0, 10]], ["no", "yes"])).axes
    assert axes.get_xlabel() == "predicted class" and axes.get_ylabel() == "target class"
    assert bar.get_ylabel() == "share of the target class"
    assert words(axes) == ["8", "2", "10"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (1, 1)]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    # Dark on light and light on dark.
    assert [text.get_color() for text in axes.texts] == ["white", "black", "white"]


@pytest.mark.parametrize("classes", [1, 2, 20, 40])
@pytest.mark.parametrize("length", [1, 60])
def test_labels_fit_and_the_picture_grows(classes, length):
    counts = np.full((classes, classes), 12345)
    figure = confusion_matrix(counts, [f"{'n' * length} {i}" for i in range(classes)])
    axes = figure.axes[0]
    assert inside(figure, axes)
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert len(set(names)) == classes and max(map(len, names)) <= 24
    assert len(axes.texts) == (classes**2 if classes <= 30 else 0)
    if axes.texts:
        renderer = FigureCanvasAgg(figure).get_renderer()
        cell = axes.get_window_extent(renderer).width / classes
        assert axes.texts[0].get_window_extent(renderer).width < cell


def test_classes_that_never_occur_and_weights():
    axes = drawn(confusion_matrix([[0, 0], [0.25, 1 / 3]], ["a", "b"])).axes[0]
    assert words(axes) == ["0.25", "0.333"]
    assert not axes.images[0].get_array()[0].any()


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (0, 0)])
def test_a_matrix_that_does_not_fit_its_labels(shape):
    labels = ["a", "b"] if shape[0] else []
    with pytest.raises(ValueError, match="row and a column"):
        confusion_matrix(np.zeros(shape), labels)


# Forecasts.

LEVELS = [0.9, 0.1, 0.5, 0.25, 0.75]
QUANTILES = np.arange(1, 7)[:, None] * (np.array(LEVELS) - 0.5) + 10


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_forecast_has_its_bands_in_order():
    axes = drawn(forecast(np.arange(9.0), QUANTILES, LEVELS, value_label="demand (MW)")).axes[0]
    assert axes.get_ylabel() == "demand (MW)"
    assert axes.get_xlabel() == "time (steps from the forecast)"
    assert legend(axes) == ["history", "10 % to 90 %", "25 % to 75 %", "median"]
    outer, inner = (c for c in axes.collections if isinstance(c, FillBetweenPolyCollection))
    ends = [(c.get_paths()[0].vertices[:, 1].min(), c.get_paths()[0].vertices[:, 1].max())
            for c in (outer, inner)]  # fmt: skip
    np.testing.assert_allclose(ends, [(7.6, 12.4), (8.5, 11.5)])
    # The inner band is the darker one, and both are light enough for a line on them.
    assert 0.4 < inner.get_facecolor()[0, 0] < outer.get_facecolor()[0, 0] < 1
    history, _, median = axes.lines
    np.testing.assert_array_equal(history.get_xdata(), np.arange(-8, 1))
    np.testing.assert_array_equal(median.get_xdata(), np.arange(1, 7))
    np.testing.assert_allclose(median.get_ydata(), 10)
    assert median.get_linestyle() == "--" and history.get_linestyle() == "-"


def test_gaps_in_the_history_and_the_truth():
    history = np.array([np.nan, 1, 2, np.nan, 3, np.nan, np.nan, 4])
    truth = np.where(np.arange(6) == 2, np.nan, 10.0)
    axes = drawn(forecast(history, QUANTILES, LEVELS, truth)).axes[0]
    line, alone = axes.lines[:2]
    np.testing.assert_array_equal(line.get_ydata(), history)
    # What no line would show: values with a gap, or nothing, on both sides.
    np.testing.assert_array_equal(alone.get_ydata(), [3, 4])
    assert legend(axes)[-1] == "observed"


def test_times_may_be_dates():
    times = np.datetime64("2024-02-28") + np.arange(15)
    axes = drawn(forecast(np.arange(9), QUANTILES, LEVELS, times=times, time_label="day")).axes[0]
    assert axes.get_xlabel() == "day"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), times[:9])


@pytest.mark.parametrize("history", [[], [np.nan, np.nan], [1.0]])
@pytest.mark.parametrize("horizon", [1, 6])
def test_little_to_show(history, horizon):
    drawn(forecast(history, QUANTILES[:horizon], LEVELS, QUANTILES[:horizon, 0]))
    axes = drawn(forecast(history, QUANTILES[:horizon, :1], [0.9])).axes[0]
    assert legend(axes) == ["history", "90 % quantile"][not history :]


def test_an_even_number_of_quantiles_has_no_line_in_the_middle():
    axes = drawn(forecast([1.0, 2.0], QUANTILES[:, :2], [0.9, 0.1])).axes[0]
    assert legend(axes) == ["history", "10 % to 90 %"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], QUANTILES, [0.5]), "a level for each"),
        (([1.0], QUANTILES[:, 0], [0.5]), "a level for each"),
        (([1.0], QUANTILES[:0], LEVELS), "a level for each"),
        (([1.0], QUANTILES, LEVELS, [1.0]), r"truth must be \(6,\)"),
        (([1.0], QUANTILES, LEVELS, None, [1.0]), "expected 7 times"),
    ],
)
def test_forecasts_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        forecast(*arguments)


# Attention.


def test_attention_over_channels():
    values = np.stack([np.arange(5.0), np.full(5, 3.0), [1, np.nan, 2, np.nan, np.nan]], -1)
    weights = np.array([0.1, 0.2, 0.4, 0.3, 0.0])
    figure = drawn(attention_over_series(values, weights, ["rising", "still", "gaps"]))
    upper, lower = figure.axes
    assert lower.get_ylabel() == "attention weight" and lower.get_xlabel() == "time (steps)"
    bars = [bar for bar in lower.patches if isinstance(bar, Rectangle)]
    np.testing.assert_allclose([bar.get_height() for bar in bars], weights)
    np.testing.assert_allclose([bar.get_x() for bar in bars], np.arange(5) - 0.5)
    # The darkest ground is under the largest weight; where there is none it is white.
    shades = [patch.get_facecolor()[0] for patch in upper.patches]
    np.testing.assert_allclose(shades, 1 - 0.5 * weights / 0.4)
    labels = {label.get_position()[1]: label.get_text() for label in upper.get_yticklabels()}
    assert labels == {2: "rising", 1: "still", 0: "gaps"}
    rising, still = upper.lines[:2]
    np.testing.assert_allclose(rising.get_ydata(), np.linspace(1.6, 2.4, 5))
    np.testing.assert_allclose(still.get_ydata(), 1)


def test_one_channel_keeps_its_unit():
    figure = drawn(attention_over_series([3.0, 1.0], [0.5, 0.5], value_label="level (m)"))
    assert figure.axes[0].get_ylabel() == "level (m)"
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [3, 1])


@pytest.mark.parametrize("times", [[7.0], np.array(["2024-01-01"], "datetime64[D]")])
def test_a_single_step(times):
    upper, _ = drawn(attention_over_series([[1.0, 2.0]], [1.0], times=times)).axes
    assert len(upper.lines) == 4  # two lines of one step, and a dot for each


def test_uneven_times_and_dates():
    lower = drawn(attention_over_series([1, 2, 3], [0.2, 0.3, 0.5], times=[0.0, 1.0, 4.0])).axes[1]
    np.testing.assert_allclose([bar.get_x() for bar in lower.patches], [-0.5, 0.5, 2.5])
    np.testing.assert_allclose([bar.get_width() for bar in lower.patches], [1, 2, 3])
    days = np.datetime64("2024-02-28") + np.arange(3)
    drawn(attention_over_series([1, 2, 3], [0.2, 0.3, 0.5], times=days))


def test_no_weight_at_all_and_twelve_long_names():
    names = [f"cepstral coefficient number {i}" for i in range(12)]
    figure = attention_over_series(np.zeros((4, 12)), np.zeros(4), names)
    assert inside(figure, figure.axes[0])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 2)), np.zeros(2)), "a weight for each step"),
        ((np.zeros((0, 2)), np.zeros(0)), "a weight for each step"),
        ((np.zeros((3, 2)), np.zeros(3), ["x"]), "each of the 2 channels, got 1"),
        ((np.zeros((3, 2)), np.zeros(3), None, [1, 2]), "expected 3 times"),
    ],
)
def test_attention_that_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_over_series(*arguments)


# Spans.

TOKENS = ["Ada", "Lovelace", "met", "Charles", "Babbage"]


def boxes(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)][:-1]


def lines(axes, truth=True):
    return axes.lines[: -1 if truth else None]


def test_predicted_spans_are_boxes_and_true_ones_lines():
    figure = drawn(spans_over_text(TOKENS, [("PER", 0, 2)], [("PER", 0, 2), ("WHO", 3, 5)]))
    (axes,) = figure.axes
    assert words(axes) == [*TOKENS, "PER", "PER", "WHO", "predicted", "true"]
    left = {text.get_text(): text.get_position()[0] for text in axes.texts[:5]}
    assert list(left.values()) == sorted(left.values())
    (box,) = boxes(axes)
    # From before the first letter of the first token to before the third token.
    assert box.get_x() < left["Ada"] and left["Lovelace"] < box.get_x() + box.get_width()
    assert box.get_x() + box.get_width() < left["met"]
    first, second = lines(axes)
    assert first.get_xdata()[1] < left["met"] < second.get_xdata()[0] <= left["Charles"]
    # The y axis points down: kinds of predictions above the text, of the truth below.
    heights = [text.get_position()[1] for text in axes.texts]
    assert heights[5] < heights[0] < heights[6] == heights[7]


def test_boxes_hold_their_words():
    figure = spans_over_text(TOKENS, [("PER", 0, 2), ("VERB", 2, 3), ("PER", 3, 5)])
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    ends = [text.get_window_extent(renderer) for text in axes.texts[:5]]
    for box, (start, stop) in zip(boxes(axes), [(0, 2), (2, 3), (3, 5)], strict=True):
        extent = box.get_window_extent(renderer)
        assert extent.x0 <= ends[start].x0 and ends[stop - 1].x1 <= extent.x1
    assert words(axes)[-1] == "predicted"


def test_long_texts_are_broken_and_spans_go_on():
    figure = drawn(spans_over_text(TOKENS * 8, [("ALL", 0, 40)]))
    (axes,) = figure.axes
    heights = sorted({text.get_position()[1] for text in axes.texts[:40]})
    assert len(heights) > 2 and len(boxes(axes)) == len(heights)
    assert words(axes).count("ALL") == len(heights)
    assert inside(figure, axes)
    assert figure.get_figheight() > spans_over_text(TOKENS, []).get_figheight()


def test_long_kinds_do_not_collide():
    figure = spans_over_text(list("abc"), [("ORGANISATION", i, i + 1) for i in range(3)])
    renderer = FigureCanvasAgg(figure).get_renderer()
    kinds = [t.get_window_extent(renderer) for t in figure.axes[0].texts if len(t.get_text()) > 9]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(kinds))


@pytest.mark.parametrize("tokens", [["דוד", "בן", "גוריון", "1948"], ["1948", "محمود", "درويش"]])
def test_text_from_right_to_left(tokens):
    figure = drawn(spans_over_text(tokens, [("PER", 0, 2)], [("PER", 0, 1)]))
    (axes,) = figure.axes
    right = [text.get_position()[0] for text in axes.texts[: len(tokens)]]
    assert right == sorted(right, reverse=True)
    (box,) = boxes(axes)
    assert right[2] < box.get_x() and right[0] <= box.get_x() + box.get_width()
    assert inside(figure, axes)


def test_no_text_and_one_very_long_word():
    drawn(spans_over_text([], []))
    figure = spans_over_text(["x" * 200], [("K", 0, 1)], [])
    assert inside(figure, figure.axes[0])


@pytest.mark.parametrize("span", [("PER", 0, 6), ("PER", 2, 2), ("PER", -1, 2)])
def test_spans_outside_the_text(span):
    with pytest.raises(ValueError, match="a text of 5 tokens"):
        spans_over_text(TOKENS, [], [span])


# All of them.


def test_labels_keep_both_ends():
    assert shorten("sensor in the kitchen 1", 11) == "senso…hen 1"
    assert shorten("short", 11) == "short" and shorten("exactly ten", 11) == "exactly ten"


def test_pyplot_is_not_touched():
    confusion_matrix([[1]], ["a"])
    if "matplotlib.pyplot" in sys.modules:
        assert not matplotlib.pyplot.get_fignums()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'seqjax\[plot\]'"):
        confusion_matrix([[1]], ["a"])


# Sequence-to-sequence models.


@pytest.mark.parametrize(("source", "target"), [("abc", "wxyz"), (["straightforward"] * 30, "a")])
def test_an_alignment_has_a_row_for_each_target_token(source, target):
    weights = np.full((len(target), len(source)), 1 / len(source))
    figure = drawn(alignment(weights, list(source), list(target)))
    axes, bar = figure.axes
    assert axes.get_xlabel() == "source" and axes.get_ylabel() == "target"
    assert bar.get_ylabel() == "attention weight"
    assert [label.get_text() for label in axes.get_yticklabels()] == list(target)
    assert axes.images[0].get_array().shape == (len(target), len(source))
    assert inside(figure, axes)


def test_an_alignment_that_does_not_fit():
    with pytest.raises(ValueError, match=r"expected weights \(2, 3\)"):
        alignment(np.ones((3, 2)), ["a", "b", "c"], ["d", "e"])


def test_a_beam_tree_shows_who_went_on_from_whom():
    tokens = np.array([[1, 2, 3], [2, 1, 0], [0, 0, 0]])
    parents = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    known = np.array([[-0.5, -1.0, -np.inf], [-1.2, -1.4, -9.0], [-np.inf] * 3])
    figure = drawn(
        beam_tree((tokens, parents, known), ["end", "one", "two", "three"], chosen=[2, 2])
    )
    (axes,) = figure.axes
    assert words(axes) == ["one", "two", "two", "one", "end"]
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["two", "two"]
    lines = [line.get_xydata().tolist() for line in axes.lines]
    assert lines[2] == [[1, -1], [2, 0]]
    with pytest.raises(ValueError, match="the trace of one sequence"):
        beam_tree((tokens[None], parents[None], known[None]))


def test_posteriors_are_named_at_their_peaks():
    probability = np.full((9, 3), 0.05)
    probability[:, 0] = 0.9
    probability[2:4] = [0.1, 0.85, 0.05]
    probability[6] = [0.1, 0.8, 0.1]
    figure = drawn(ctc_posteriors(probability, np.zeros((9, 8)), ["", "a", "b"]))
    upper, lower = figure.axes
    assert words(lower) == ["a", "a"] and len(lower.lines) == 1
    assert upper.images[0].get_array().shape == (8, 9)
    assert drawn(ctc_posteriors(probability, np.zeros(9), ["", "a", "b"])).axes[0].lines
    with pytest.raises(ValueError, match="a name for each of the 3 symbols, got 2"):
        ctc_posteriors(probability, np.zeros(9), ["", "a"])
    with pytest.raises(ValueError, match=r"got \(9, 3\) and \(8, 1\)"):
        ctc_posteriors(probability, np.zeros(8), ["", "a", "b"])


def test_frames_tell_wrong_labels_apart():
    frames = np.random.default_rng(0).random((8, 5, 4, 3))
    labels = ["up"] * 7 + ["down"]
    figure = drawn(frames_with_labels(frames, labels, ["up"] * 8, title="a clip"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [*(f"{n}: up" for n in range(1, 8)), "8: down, not up"]
    edges = [axes.spines["left"].get_linewidth() for axes in figure.axes]
    assert edges[-1] > edges[0]
    # A picture alone needs no number; a long title is put in lines that fit above it.
    alone = drawn(frames_with_labels(frames[:1, ..., 0], title="a red square below a blue circle"))
    assert [axes.get_title() for axes in alone.axes] == [""]
    assert alone.get_suptitle() == "a red square below a\nblue circle"
    with pytest.raises(ValueError, match="expected 8 labels, one a frame; got 7"):
        frames_with_labels(frames, labels[1:])
    with pytest.raises(ValueError, match="1 or 3 channels"):
        frames_with_labels(frames[..., :2])


def test_notebooks_are_handed_a_picture():
    figure = pickle.loads(pickle.dumps(new_figure(1.0, 1.0)))
    assert figure._repr_png_().startswith(b"\x89PNG")
