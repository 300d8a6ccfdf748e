"""A corpus as parallel streams, for truncated backpropagation through time.

The corpus, documents one after the other with a boundary token before each, is treated as
a circle. Stream b starts at position `b * length / streams` and never ends: its next window
begins where the last one stopped, and when it reaches the end of the corpus it goes on at
the beginning. So the state always flows on from the text before it, every character is
seen equally often, every window is full, and one compiled step does for the whole run.
Where a document begins, the state is reset.
"""

import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.types import Array


def check_length(tokens: np.ndarray, streams: int, time: int) -> None:
    """Raises unless the corpus is long enough for the streams, and short enough to index."""
    if len(tokens) < streams + time:
        raise InputError(
            f"The text has {len(tokens):,} characters, too few for {streams} streams with "
            f"windows of {time}. Use more text, or a smaller --batch or --time."
        )
    if len(tokens) > np.iinfo(np.int32).max - time:
        raise InputError(
            f"The text has {len(tokens):,} characters; at most 2,147 million can be indexed. "
            "Train on a part of it."
        )


def start_positions(length: int, streams: int) -> np.ndarray:
    """`(streams,)` int32: where each stream begins, evenly spread over the corpus."""
    return (np.arange(streams, dtype=np.int64) * length // streams).astype(np.int32)


def window(corpus: Array, positions: Array, time: int) -> tuple[Array, Array]:
    """The inputs and targets of the next `time` steps of every stream.

    Args:
      corpus: `(length,)` tokens.
      positions: `(streams,)` int32, where the streams stand.
      time: number of steps.

    Returns:
      `(inputs, targets)`, both `(streams, time)` int32; targets are the tokens that follow.
    """
    offsets = jnp.arange(time + 1, dtype=jnp.int32)
    places = (positions[:, None] + offsets[None, :]) % corpus.shape[0]
    tokens = corpus[places].astype(jnp.int32)
    return tokens[:, :-1], tokens[:, 1:]


def scoring_rows(
    corpus: np.ndarray, rows: int, context: int, multiple: int
) -> tuple[np.ndarray, np.ndarray]:
    """The corpus cut into rows that can be scored side by side, each character once.

    Every row but the first begins with `context` characters that are read and not scored,
    so that the state has warmed up where scoring begins.

    Args:
      corpus: `(length,)` tokens.
      rows: number of rows.
      context: unscored characters at the start of a row.
      multiple: rows are padded to a multiple of so many steps.

    Returns:
      `(tokens, scored)`: tokens `(rows, steps + 1)`, and `(rows, steps)` bool, which
      targets `tokens[:, 1:]` count.
    """
    share = -(-(len(corpus) - 1) // rows)
    steps = -(-(share + context) // multiple) * multiple
    offsets = np.arange(steps + 1)
    places = np.arange(rows)[:, None] * share - context + offsets
    inside = (places >= 0) & (places < len(corpus))
    tokens = np.where(inside, corpus[places.clip(0, len(corpus) - 1)], 0).astype(corpus.dtype)
    own = (offsets[1:] > context) & (offsets[1:] <= context + share)
    return tokens, own & inside[:, 1:]
