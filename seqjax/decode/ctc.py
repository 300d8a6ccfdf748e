"""Decoding of connectionist temporal classification: from frames to labels.

A model puts out a distribution over labels and a blank for every frame. A path is a symbol for
every frame; it stands for the labels that are left when repeats are merged and blanks removed.
The probability of a labelling is the sum over its paths.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.masks import length_mask
from seqjax.core.types import Array, Float, Int
from seqjax.engines.placement import all_varying


class Labelling(NamedTuple):
    """Labels found, the best first where there are several.

    Attributes:
      labels: `(*batch, time)` or `(*batch, beams, time)` int32; blanks behind the end.
      lengths: `(*batch,)` or `(*batch, beams)` int32.
      log_probability: of the same shape, in nats: of the best path, or of the labelling as far
        as the beams have seen its paths. -inf for a beam that holds nothing.
    """

    labels: Int[Array, "*batch time"]
    lengths: Int[Array, "*batch"]
    log_probability: Float[Array, "*batch"]


def frames_needed(labels: Array, lengths: Array) -> Array:
    """The fewest frames that a labelling has a path through: one each, and a blank in repeats.

    Args:
      labels: `(*batch, labels)` ints.
      lengths: `(*batch,)`, how many of them count.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.ctc import frames_needed
      >>> frames_needed(jnp.array([[5, 5, 6]]), jnp.array([3]))
      Array([4], dtype=int32)
    """
    repeats = (labels[..., 1:] == labels[..., :-1]) & length_mask(lengths, labels.shape[-1])[
        ..., 1:
    ]
    return lengths + repeats.sum(-1, dtype=jnp.int32)


def ctc_greedy(logits: Array, lengths: Array, *, blank: int = 0) -> Labelling:
    """The labels of the likeliest path.

    Args:
      logits: `(*batch, time, symbols)`.
      lengths: `(*batch,)` ints, how many frames count.
      blank: the symbol that is no label.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from seqjax.decode.ctc import ctc_greedy
      >>> logits = jax.nn.one_hot(jnp.array([0, 2, 2, 0, 2, 1]), 3)
      >>> found = ctc_greedy(logits, jnp.int32(6))
      >>> found.labels[: found.lengths]
      Array([2, 2, 1], dtype=int32)

    Source: Graves et al. 2006, "Connectionist temporal classification" (ICML).
    """
    known = jax.nn.log_softmax(logits.astype(jnp.float32), -1)
    valid = length_mask(lengths, logits.shape[-2])
    best = jnp.argmax(known, -1).astype(jnp.int32)
    log_probability = jnp.where(valid, known.max(-1), 0.0).sum(-1)
    before = jnp.concatenate([jnp.full_like(best[..., :1], blank), best[..., :-1]], -1)
    kept = valid & (best != blank) & (best != before)
    order = jnp.argsort(~kept, axis=-1, stable=True)
    labels = jnp.take_along_axis(jnp.where(kept, best, blank), order, -1)
    return Labelling(labels, kept.sum(-1, dtype=jnp.int32), log_probability)


class _Prefixes(NamedTuple):
    """Beams of one row: their labels, and the log-probability of paths that end in a blank or
    in the last label."""

    labels: Array
    lengths: Array
    blank: Array
    label: Array

    @property
    def total(self) -> Array:
        return jnp.logaddexp(self.blank, self.label)


def ctc_beam_search(logits: Array, lengths: Array, *, beams: int = 10, blank: int = 0) -> Labelling:
    """The likeliest labellings, summed over paths, by prefix beam search.

        blank'(p)     = (blank(p) + label(p)) P(blank)
        label'(p)     = label(p) P(last of p)
        label'(p + c) = (blank(p) + label(p)) P(c)        c another label than the last of p
        label'(p + c) = blank(p) P(c)                     c the last of p once more

    A prefix that is reached in two ways, by staying and by an extension, is one prefix. Of all
    the best `beams` go on.

    Args:
      logits: `(*batch, time, symbols)`.
      lengths: `(*batch,)` ints, how many frames count.
      beams: prefixes kept after each frame. With as many as there are, nothing is lost.
      blank: the symbol that is no label.

    Returns:
      All beams, the best first.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.ctc import ctc_beam_search, ctc_greedy
      >>> logits = jnp.log(jnp.array([[0.6, 0.4], [0.6, 0.4]]))     # blank likeliest each time
      >>> int(ctc_greedy(logits, jnp.int32(2)).lengths)
      0
      >>> found = ctc_beam_search(logits, jnp.int32(2), beams=3)     # but 1 - 0.36 for a label
      >>> int(found.lengths[0]), jnp.exp(found.log_probability[0]).round(2)
      (1, Array(0.64, dtype=float32))

    Source: Graves 2012, "Supervised sequence labelling with recurrent neural networks"; Hannun
    et al. 2014, arXiv:1408.2873.
    """
    known = jax.nn.log_softmax(logits.astype(jnp.float32), -1)
    time, symbols = known.shape[-2:]

    def one_row(known, count):
        first = _Prefixes(
            labels=jnp.full((beams, time), blank, jnp.int32),
            lengths=jnp.zeros(beams, jnp.int32),
            blank=jnp.full(beams, -jnp.inf).at[0].set(0.0),
            label=jnp.full(beams, -jnp.inf),
        )

        start, _ = all_varying((first, known))

        def frame(now: _Prefixes, here):
            t, chance = here
            new = _next_prefixes(now, chance, blank)
            return jax.tree.map(lambda a, b: jnp.where(t < count, a, b), new, now), None

        last, _ = jax.lax.scan(frame, start, (jnp.arange(time), known))
        order = jnp.argsort(last.total, descending=True)
        return Labelling(last.labels[order], last.lengths[order], last.total[order])

    batch = known.shape[:-2]
    flat = known.reshape(-1, time, symbols)
    found = jax.vmap(one_row)(flat, jnp.broadcast_to(lengths, batch).reshape(-1))
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)


def _next_prefixes(now: _Prefixes, chance: Array, blank: int) -> _Prefixes:
    beams, time = now.labels.shape
    symbols = chance.shape[-1]
    empty = now.lengths == 0
    last = jnp.take_along_axis(now.labels, jnp.maximum(now.lengths - 1, 0)[:, None], 1)[:, 0]
    stay_blank = now.total + chance[blank]
    stay_label = jnp.where(empty, -jnp.inf, now.label + chance[last])
    symbol = jnp.arange(symbols)[None]
    is_last = symbol == last[:, None]
    before = jnp.where(is_last & ~empty[:, None], now.blank[:, None], now.total[:, None])
    longer = jnp.where(symbol == blank, -jnp.inf, before + chance[None])

    # Beam i extended by the last label of beam j is beam j: its paths belong there.
    place = jnp.arange(time)[None]
    shorter = jnp.where(place == now.lengths[:, None] - 1, blank, now.labels)
    same = (now.labels[:, None] == shorter[None]).all(-1)
    same &= (now.lengths[:, None] + 1 == now.lengths[None]) & (now.total > -jnp.inf)[None]
    moved = jnp.where(same, longer[:, last], -jnp.inf)
    stay_label = jnp.logaddexp(stay_label, jax.nn.logsumexp(moved, 0))
    gone = (same[:, :, None] & is_last[None]).any(1)
    longer = jnp.where(gone, -jnp.inf, longer)

    stay = jnp.logaddexp(stay_blank, stay_label)
    value = jnp.concatenate([stay, longer.reshape(-1)])
    _, which = jax.lax.top_k(value, beams)
    extends = which >= beams
    parent = jnp.where(extends, (which - beams) // symbols, which)
    added = jnp.where(extends, (which - beams) % symbols, blank)
    lengths = now.lengths[parent]
    labels = now.labels[parent]
    here = (place == lengths[:, None]) & extends[:, None]
    return _Prefixes(
        labels=jnp.where(here, added[:, None], labels),
        lengths=lengths + extends,
        blank=jnp.where(extends, -jnp.inf, stay_blank[parent]),
        label=jnp.where(extends, value[which], stay_label[parent]),
    )
