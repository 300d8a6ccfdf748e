"""A corpus as parallel streams, for truncated backpropagation through time.

The corpus, its documents concatenated with a boundary token before each, is treated as circular.
Stream b starts at position `b * length / streams` and never ends: each window begins where the
last one stopped, and after the end of the corpus the stream continues at its beginning. So the
state is always that of the preceding text, every token is seen equally often, every window is
full, and one compiled step serves the whole run. The state is reset where a document begins.
"""

import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.types import Array


def check_length(tokens: np.ndarray, streams: int, time: int, unit: str = "character") -> None:
    """Raises unless the corpus is long enough for the streams and its positions fit int32.

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
    if len(tokens) > np.iinfo(np.int32).max - time:
        raise InputError(
            f"The text has {len(tokens):,} {unit}s; at most 2,147 million can be indexed. "
            "Train on a part of it."
        )


def start_positions(length: int, streams: int) -> np.ndarray:
    """`(streams,)` int32: the first position of each stream, evenly spaced over the corpus."""
    return (np.arange(streams, dtype=np.int64) * length // streams).astype(np.int32)


def window(corpus: Array, positions: Array, time: int) -> tuple[Array, Array]:
    """The inputs and targets of the next `time` steps of every stream.

    Args:
      corpus: `(length,)` tokens.
      positions: `(streams,)` int32, the current positions of the streams.
      time: number of steps.

    Returns:
      `(inputs, targets)`, both `(streams, time)` int32; targets are the tokens that follow.
    """
    offsets = jnp.arange(time + 1, dtype=jnp.int32)
    tokens = corpus[(positions[:, None] + offsets[None, :]) % corpus.shape[0]].astype(jnp.int32)
    return tokens[:, :-1], tokens[:, 1:]


def scoring_sequences(
    corpus: np.ndarray, batch_size: int, context: int, multiple: int
) -> tuple[np.ndarray, np.ndarray]:
    """The corpus cut into sequences that are scored in parallel, each token once.

    Every sequence but the first begins with `context` tokens that are read but not scored, to warm
    up the state.

    Args:
      corpus: `(length,)` tokens.
      batch_size: number of sequences.
      context: unscored tokens at the start of a sequence.
      multiple: the number of steps is rounded up to a multiple of this.

    Returns:
      `(tokens, scored)`: tokens `(batch, steps + 1)`, and `(batch, steps)` bool, which of the
      targets `tokens[:, 1:]` count.
    """
    share = -(-(len(corpus) - 1) // batch_size)
    steps = -(-(share + context) // multiple) * multiple
    offsets = np.arange(steps + 1)
    positions = np.arange(batch_size)[:, None] * share - context + offsets
    inside = (positions >= 0) & (positions < len(corpus))
    tokens = np.where(inside, corpus[positions.clip(0, len(corpus) - 1)], 0).astype(corpus.dtype)
    own = (offsets[1:] > context) & (offsets[1:] <= context + share)
    return tokens, own & inside[:, 1:]
