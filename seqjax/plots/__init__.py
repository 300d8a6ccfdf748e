"""Pictures of predictions: each function returns a `matplotlib.figure.Figure`.

Nothing is shown and no global state of matplotlib changes: `figure.savefig("picture.png")`
writes it, and a notebook shows a figure that is the last value of a cell. Everything can be
read in grey. Arrays may be NumPy's or JAX's.
"""

from seqjax.plots.attention import attention_over_series
from seqjax.plots.confusion import confusion_matrix
from seqjax.plots.forecasts import forecast
from seqjax.plots.text import spans_over_text

__all__ = ["attention_over_series", "confusion_matrix", "forecast", "spans_over_text"]
