"""A corpus as parallel streams, for truncated backpropagation through time.

The corpus, its documents concatenated with a boundary token before each, is treated as circular.
Stream b starts at position `b * length / streams` and never ends: each window begins where the
last one stopped, and after the end of the corpus the stream continues at its beginning. So the
state is always that of the preceding text, every token is seen equally often, every window is
full, and one compiled step serves the whole run. Where a stream stands follows from the number of
the step. The state is reset where a document begins.
"""

from collections.abc import Iterator

import numpy as np

from seqjax.core.errors import InputError


def check_length(tokens: np.ndarray, streams: int, time: int, unit: str = "character") -> None:
    """Raises unless the corpus is long enough for the streams.

    Args:
      tokens: of the corpus.
      streams: number of streams.
      time: tokens of a window.
      unit: what a token is.
    """
    if len(tokens) < streams + time:
        raise InputError(
            f"The text has {len(tokens):,} {unit}s, too few for {streams} streams with "
            f"windows of {time}. Use more text, or a smaller --batch or --time."
        )


def start_positions(length: int, streams: int) -> np.ndarray:
    """`(streams,)` int64: the first position of each stream, evenly spaced over the corpus."""
    return np.arange(streams, dtype=np.int64) * length // streams


def window(corpus: np.ndarray, starts: np.ndarray, time: int, step: int) -> np.ndarray:
    """What streams read in a step of training.

    Args:
      corpus: `(length,)` tokens, in memory or mapped from a file.
      starts: `(streams,)`, from `start_positions`; of some streams, or of all.
      time: tokens of a window.
      step: number of windows before this one.

    Returns:
      `(streams, time + 1)` tokens: inputs are all but the last, targets all but the first.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.streams import start_positions, window
      >>> window(np.arange(10), start_positions(10, 2), time=3, step=1)
      array([[3, 4, 5, 6],
             [8, 9, 0, 1]])
    """
    positions = starts[:, None] + (step * time + np.arange(time + 1))
    return np.asarray(corpus[positions % len(corpus)])


def scoring_windows(
    corpus: np.ndarray, batch_size: int, context: int, time: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The corpus cut into sequences that are scored in parallel, each token once; in windows.

    Every sequence but the first begins with `context` tokens that are read but not scored, to warm
    up the state.

    Args:
      corpus: `(length,)` tokens.
      batch_size: number of sequences.
      context: unscored tokens at the start of a sequence.
      time: steps of a window.

    Yields:
      `(tokens, scored)`: tokens `(batch, time + 1)`, of which the last is the first of the next
      window, and `(batch, time)` bool, which of the targets `tokens[:, 1:]` count.
    """
    share = -(-(len(corpus) - 1) // batch_size)
    firsts = np.arange(batch_size)[:, None] * share - context
    for at in range(0, share + context, time):
        offsets = at + np.arange(time + 1)
        positions = firsts + offsets
        inside = (positions >= 0) & (positions < len(corpus))
        tokens = np.where(inside, corpus[positions.clip(0, len(corpus) - 1)], 0)
        own = (offsets[1:] > context) & (offsets[1:] <= context + share)
        yield tokens.astype(corpus.dtype), own & inside[:, 1:]
