"""Decoding of connectionist temporal classification (CTC): from frames to labels.

A model outputs a distribution over labels and the blank token for every frame. A path is a token
per frame; merging repeats and removing blanks collapses it to a labelling. The probability of a
labelling is the sum over its paths.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.masks import length_mask
from seqjax.core.types import Array, Float, Int
from seqjax.engines.placement import all_varying


@exportable
class Labelling(NamedTuple):
    """Decoded labels, the best first where there are several.

    Attributes:
      labels: `(*batch, time)` or `(*batch, beams, time)` int32, padded with blanks.
      lengths: `(*batch,)` or `(*batch, beams)` int32.
      log_probability: of the same shape, in nats: of the best path, or of the labelling, summed
        over the paths within the beam. -inf for an empty beam.
    """

    labels: Int[Array, "*batch time"]
    lengths: Int[Array, "*batch"]
    log_probability: Float[Array, "*batch"]


def frames_needed(labels: Array, lengths: Array) -> Array:
    """The least number of frames of a labelling: one per label, and a blank between repeats.

    Args:
      labels: `(*batch, labels)` ints.
      lengths: `(*batch,)`, valid labels.

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
    """The labels of the most probable path (best-path decoding).

    Args:
      logits: `(*batch, time, symbols)`.
      lengths: `(*batch,)` ints, valid frames.
      blank: the blank token.

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
    """Beams of one sequence, without their labels, which are read back at the end.

    Attributes:
      hash: `(beams, 2)`, a 64-bit hash of all labels of the prefix, by which prefixes are compared.
      parent: the hash without the last label.
      last: the last label.
      lengths: number of labels.
      blank: log-probability of the paths that end in a blank.
      label: log-probability of the paths that end in the last label.
    """

    hash: Array
    parent: Array
    last: Array
    lengths: Array
    blank: Array
    label: Array

    @property
    def total(self) -> Array:
        return jnp.logaddexp(self.blank, self.label)


def ctc_beam_search(logits: Array, lengths: Array, *, beams: int = 10, blank: int = 0) -> Labelling:
    """The most probable labellings, summed over paths, by prefix beam search.

        blank'(p)     = (blank(p) + label(p)) P(blank)
        label'(p)     = label(p) P(last of p)
        label'(p + c) = (blank(p) + label(p)) P(c)        c another label than the last of p
        label'(p + c) = blank(p) P(c)                     c the last of p once more

    A prefix that is reached both by staying and by an extension is merged. After each frame the
    best `beams` prefixes are kept.

    Args:
      logits: `(*batch, time, symbols)`.
      lengths: `(*batch,)` ints, valid frames.
      beams: number of prefixes. With as many as there are, the search is exact.
      blank: the blank token.

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

    def one_sequence(known, count):
        nothing = jnp.zeros((beams, 2), jnp.uint32)
        first = _Prefixes(
            hash=nothing,
            parent=nothing,
            last=jnp.full(beams, blank, jnp.int32),
            lengths=jnp.zeros(beams, jnp.int32),
            blank=jnp.full(beams, -jnp.inf).at[0].set(0.0),
            label=jnp.full(beams, -jnp.inf),
        )
        start, _ = all_varying((first, known))

        def frame(now: _Prefixes, here):
            t, chance = here
            new, came_from = _next_prefixes(now, chance, blank)
            counts = t < count
            new = jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, now)
            return new, (jnp.where(counts, came_from, jnp.arange(beams)), new.last, new.lengths)

        end, steps = jax.lax.scan(frame, start, (jnp.arange(time), known))
        order = jnp.argsort(end.total, descending=True)
        labels = _follow(order, steps, blank)
        return Labelling(labels, end.lengths[order], end.total[order])

    batch = known.shape[:-2]
    flat = known.reshape(-1, time, symbols)
    found = jax.vmap(one_sequence)(flat, jnp.broadcast_to(lengths, batch).reshape(-1))
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)


def _next_prefixes(now: _Prefixes, chance: Array, blank: int) -> tuple[_Prefixes, Array]:
    """The beams after one frame, and the index of the beam that each extends."""
    beams, symbols = now.last.shape[0], chance.shape[-1]
    empty = now.lengths == 0
    stay_blank = now.total + chance[blank]
    stay_label = jnp.where(empty, -jnp.inf, now.label + chance[now.last])
    symbol = jnp.arange(symbols)[None]
    is_last = symbol == now.last[:, None]
    before = jnp.where(is_last & ~empty[:, None], now.blank[:, None], now.total[:, None])
    longer = jnp.where(symbol == blank, -jnp.inf, before + chance[None])

    # Beam i extended by the last label of beam j is beam j: its paths are merged.
    alive = (now.total > -jnp.inf) & ~empty
    same = (now.hash[:, None] == now.parent[None]).all(-1) & alive[None]
    moved = jnp.where(same, longer[:, now.last], -jnp.inf)
    stay_label = jnp.logaddexp(stay_label, jax.nn.logsumexp(moved, 0))
    gone = (same[:, :, None] & is_last[None]).any(1)
    longer = jnp.where(gone, -jnp.inf, longer)

    stay = jnp.logaddexp(stay_blank, stay_label)
    value = jnp.concatenate([stay, longer.reshape(-1)])
    _, which = jax.lax.top_k(value, beams)
    extends = which >= beams
    came_from = jnp.where(extends, (which - beams) // symbols, which)
    old = jax.tree.map(lambda leaf: leaf[came_from], now)
    last = jnp.where(extends, (which - beams) % symbols, old.last).astype(jnp.int32)
    new = _Prefixes(
        hash=jnp.where(extends[:, None], _extended_hash(old.hash, last), old.hash),
        parent=jnp.where(extends[:, None], old.hash, old.parent),
        last=last,
        lengths=old.lengths + extends,
        blank=jnp.where(extends, -jnp.inf, stay_blank[came_from]),
        label=jnp.where(extends, value[which], stay_label[came_from]),
    )
    return new, came_from


def _extended_hash(prefix: Array, label: Array) -> Array:
    """The hash of a prefix with one more label: two mixes of 32 bits, as in MurmurHash3."""
    mixed = prefix * jnp.array([[0x9E3779B1, 0xC2B2AE3D]], jnp.uint32)
    mixed += (label[:, None].astype(jnp.uint32) + 1) * jnp.array(
        [[0x27D4EB2F, 0x165667B1]], jnp.uint32
    )
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
    return mixed ^ (mixed >> 16)


def _follow(order: Array, steps: tuple[Array, Array, Array], blank: int) -> Array:
    """The labels of the final beams `order`, read back from the last frame."""
    time = steps[0].shape[0]

    def back(beams, step):
        came_from, last, lengths = (leaf[..., beams] for leaf in step)
        return came_from, (last, lengths)

    _, (last, lengths) = jax.lax.scan(back, *all_varying((order, steps)), reverse=True)
    rows = jnp.arange(order.shape[0])[None]
    # A label is written once for every frame in which the prefix ended in it, to the same index.
    labels = jnp.full((order.shape[0], time + 1), blank, jnp.int32)
    return labels.at[rows, lengths].set(last)[:, 1:]
