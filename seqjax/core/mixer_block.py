"""The usual block of a language model: a memory mixes steps, a feed-forward layer channels."""

from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell
from seqjax.core.layers import feed_forward
from seqjax.core.stack import stack


def mixer_block(mixer: Cell, *, hidden: int | None, norm_epsilon: float) -> Cell:
    """A cell that mixes steps, and a feed-forward layer, each behind a norm.

        x = x + mixer(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      mixer: the cell; its input is as wide as its output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      norm_epsilon: of the norms.
    """
    return stack(
        time=prenorm(mixer, epsilon=norm_epsilon),
        channel=prenorm(feed_forward(mixer.features, hidden=hidden), epsilon=norm_epsilon),
    )
