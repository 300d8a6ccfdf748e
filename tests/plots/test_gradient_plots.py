"""What is in the pictures of gradients: axes, lines and their values, not pixels."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from seqjax.gradients import Activation, LayerFlow, TruncationCost
from seqjax.plots import (
    gates,
    gradient_flow,
    gradient_map,
    gradient_norms,
    influence,
    truncation_cost,
)


def drawn(figure):
    """Drawn once, so that warnings and errors that only drawing meets are met."""
    FigureCanvasAgg(figure).draw()
    return figure


def test_flow_has_a_line_for_each_layer_of_means_over_rows():
    norms = np.array([[3.0, 1.0, 0.0], [4.0, 1.0, 0.0]])
    flows = [LayerFlow("1 gru(4)", norms, 2 * norms), LayerFlow("2 lstm(4)", norms, norms)]
    (axes,) = drawn(gradient_flow(flows, every=2)).axes
    first, second, cut = axes.get_lines()
    # Nothing arrives at the last step: there is no point on a logarithmic axis.
    np.testing.assert_allclose(first.get_ydata(), [np.sqrt(12.5), 1.0, np.nan])
    assert first.get_linestyle() != second.get_linestyle()
    assert list(cut.get_xdata()) == [1.5, 1.5]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1 gru(4)", "2 lstm(4)"]
    (axes,) = drawn(gradient_flow(flows, what="inputs")).axes
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata()[1], 2.0)


def test_flow_says_what_is_wrong():
    with pytest.raises(ValueError, match="no layer with a state"):
        gradient_flow([])
    with pytest.raises(ValueError, match="must be 'carry' or 'inputs', got 'h'"):
        gradient_flow([LayerFlow("a", np.ones(3), np.ones(3))], what="h")


@pytest.mark.parametrize("norms", [np.ones((2, 3)), np.zeros((2, 3)), [[1, np.nan], [1e-20, 5]]])
def test_map_takes_any_norms(norms):
    axes, bar = drawn(gradient_map(norms, [10, 2000], name="lstm(4)")).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["10", "2,000"]
    assert "norm" in bar.get_ylabel()


def test_map_says_what_is_wrong():
    with pytest.raises(ValueError, match="a step for each time"):
        gradient_map(np.ones((2, 3)), [1])


def test_gates_show_shares_and_means():
    found = [
        Activation("1 lstm(4)", "forget", "sigmoid", 0.8, 0.1, 0.3),
        Activation("1 lstm(4)", "candidate", "tanh", 0.0, 0.2, 0.0),
        Activation("2 gru(4)", "reset", "sigmoid", 0.5, 0.0, 0.0),
    ]
    one, two = drawn(gates(found)).axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["forget", "candidate"]
    assert two.get_title(loc="left") == "2 gru(4)"
    whole, low, high = one.patches[:3]
    np.testing.assert_allclose([bar.get_width() for bar in (whole, low, high)], [1.0, 0.1, 0.3])
    assert high.get_x() == pytest.approx(0.7)
    # Means as places in the range of each: tanh begins at -1.
    assert one.get_lines()[0].get_xdata()[0] == pytest.approx(0.8)
    assert one.get_lines()[2].get_xdata()[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no sigmoid and no tanh"):
        gates([])


def test_influence_is_a_share_of_the_largest():
    (axes,) = drawn(influence({"a": [2.0, 1.0, 0.0], "b": np.zeros(3)}, fraction=0.1)).axes
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [1.0, 0.5, np.nan])
    assert axes.get_lines()[2].get_ydata()[0] == 0.1
    with pytest.raises(ValueError, match="nothing to draw"):
        influence({})


def test_truncation_and_norms():
    cost = TruncationCost(np.array([1, 4]), np.array([-0.2, 0.9]), np.array([0.1, 0.8]))
    (axes,) = drawn(truncation_cost(cost)).axes
    assert axes.get_ylim()[0] == -0.2
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
    (axes,) = drawn(gradient_norms([50, 100], [3.0, 0.5], clip=1.0)).axes
    assert axes.get_lines()[1].get_ydata()[0] == 1.0
    with pytest.raises(ValueError, match="as many norms as steps"):
        gradient_norms([50], [3.0, 0.5])
