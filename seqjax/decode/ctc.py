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
    """Beams of one row, without their labels: those are put together at the end.

    Attributes:
      name: `(beams, 2)`, a number of 64 bits that is made of all labels of the prefix. Prefixes
        are compared by it; that two of a search share one is as good as impossible.
      parent: the name without the last label.
      last: the last label.
      lengths: how many labels there are.
      blank: log-probability of the paths that end in a blank.
      label: log-probability of the paths that end in the last label.
    """

    name: Array
    parent: Array
    last: Array
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
        nothing = jnp.zeros((beams, 2), jnp.uint32)
        first = _Prefixes(
            name=nothing,
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
    found = jax.vmap(one_row)(flat, jnp.broadcast_to(lengths, batch).reshape(-1))
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)


def _next_prefixes(now: _Prefixes, chance: Array, blank: int) -> tuple[_Prefixes, Array]:
    """The beams after one frame, and which of the beams before it each goes on from."""
    beams, symbols = now.last.shape[0], chance.shape[-1]
    empty = now.lengths == 0
    stay_blank = now.total + chance[blank]
    stay_label = jnp.where(empty, -jnp.inf, now.label + chance[now.last])
    symbol = jnp.arange(symbols)[None]
    is_last = symbol == now.last[:, None]
    before = jnp.where(is_last & ~empty[:, None], now.blank[:, None], now.total[:, None])
    longer = jnp.where(symbol == blank, -jnp.inf, before + chance[None])

    # Beam i extended by the last label of beam j is beam j: its paths belong there.
    alive = (now.total > -jnp.inf) & ~empty
    same = (now.name[:, None] == now.parent[None]).all(-1) & alive[None]
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
        name=jnp.where(extends[:, None], _longer_name(old.name, last), old.name),
        parent=jnp.where(extends[:, None], old.name, old.parent),
        last=last,
        lengths=old.lengths + extends,
        blank=jnp.where(extends, -jnp.inf, stay_blank[came_from]),
        label=jnp.where(extends, value[which], stay_label[came_from]),
    )
    return new, came_from


def _longer_name(name: Array, label: Array) -> Array:
    """The name of a prefix with one label more: two mixes of 32 bits, as in MurmurHash3."""
    mixed = name * jnp.array([[0x9E3779B1, 0xC2B2AE3D]], jnp.uint32)
    mixed += (label[:, None].astype(jnp.uint32) + 1) * jnp.array(
        [[0x27D4EB2F, 0x165667B1]], jnp.uint32
    )
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
    return mixed ^ (mixed >> 16)


def _follow(order: Array, steps: tuple[Array, Array, Array], blank: int) -> Array:
    """The labels of the beams at places `order` after the last frame, read back from it."""
    time = steps[0].shape[0]

    def back(places, step):
        came_from, last, lengths = (leaf[..., places] for leaf in step)
        return came_from, (last, lengths)

    _, (last, lengths) = jax.lax.scan(back, *all_varying((order, steps)), reverse=True)
    rows = jnp.arange(order.shape[0])[None]
    # A label is written once for every frame that the prefix ended in it: to the same place.
    labels = jnp.full((order.shape[0], time + 1), blank, jnp.int32)
    return labels.at[rows, lengths].set(last)[:, 1:]
