"""From one sequence, vector or image to another sequence."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.masks import length_mask
from seqjax.core.types import Array, PRNGKeyArray, RowKeys
from seqjax.decode.search import Beams, Constraint, Written, beam_search, write
from seqjax.losses import cross_entropy
from seqjax.nn.decoder import Decoder


class EncoderDecoder(nnx.Module):
    """Reads with one module and writes with another.

        encoded = encoder(source)
        p(target) = product over t of softmax(decoder(target before t, encoded))[target_t]

    Args:
      encoder: `RecurrentEncoder`, `ImageEncoder`, `VectorEncoder`, or any module that returns
        `Encoded` and knows its `features` and `summary_features`.
      decoder: with the encoder's `summary_features`; and with its `features` as
        `memory_features`, if its cell attends.
      begin: the token before the first.
      end: the token after the last.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> read, embed = sj.bidirectional(sj.gru(8)), nnx.Embed(30, 4, rngs=rngs)
      >>> encoder = sj.nn.RecurrentEncoder(read, 4, embedding=embed, rngs=rngs)
      >>> cell = sj.attentive(sj.gru(16), encoder.features)
      >>> decoder = sj.nn.Decoder(20, cell, encoder.summary_features, embedding_size=4, rngs=rngs)
      >>> model = sj.nn.EncoderDecoder(encoder, decoder, begin=2, end=3)
      >>> source, target = jnp.ones((2, 7), int), jnp.full((2, 5), 6)
      >>> logits = model(source, target, lengths=jnp.array([7, 3]))
      >>> logits.shape                                        # of the five tokens and the end
      (2, 6, 20)
      >>> model.search(source, beams=4, length=9).tokens.shape
      (2, 4, 9)
    """

    def __init__(self, encoder: Any, decoder: Decoder, *, begin: int, end: int):
        self.encoder, self.decoder = encoder, decoder
        self.begin, self.end = begin, end

    def __call__(
        self,
        source: Any,
        target: Array,
        *,
        lengths: Array | None = None,
        target_lengths: Array | None = None,
        key: PRNGKeyArray | RowKeys | None = None,
        sampling: float | Array = 0.0,
    ) -> Array:
        """The logits `(*batch, time + 1, tokens)` of every token of the target and of its end.

        Args:
          source: what the encoder reads.
          target: `(*batch, time)` ints, without begin and end.
          lengths: `(*batch,)`, how many steps of the source count.
          target_lengths: `(*batch,)`, how many tokens of the target count.
          key: switches dropout and zoneout on; needed for `sampling`.
          sampling: how often the model reads what it would have written itself instead of the
            token before; a number for all rows or one for each, `(*batch,)`.
        """
        own = None
        encoder_key = decoder_key = None
        if key is not None:
            split = jnp.vectorize(jax.random.fold_in, signature="(),()->()")
            encoder_key, decoder_key, coins = (split(key, number) for number in range(3))
            if not _is_zero(sampling):
                own = _coins(coins, sampling, (*target.shape[:-1], target.shape[-1] + 1))
        elif not _is_zero(sampling):
            raise ValueError("EncoderDecoder: sampling needs a key.")
        encoded = self.encoder(source, lengths=lengths, key=encoder_key)
        tokens = _padded(target, 1, 0, self.begin)
        ends = None if target_lengths is None else target_lengths + 1
        return self.decoder(tokens, encoded, lengths=ends, key=decoder_key, own=own)

    def loss(
        self,
        logits: Array,
        target: Array,
        target_lengths: Array,
        *,
        counts: Array | None = None,
        smoothing: float = 0.0,
    ) -> tuple[Array, Array]:
        """`(nats, tokens)`: the cross-entropy summed over all tokens and ends, and their number.

        Args:
          logits: from a call.
          target: `(*batch, time)`.
          target_lengths: `(*batch,)`.
          counts: `(*batch,)` bool, the rows that count.
          smoothing: share of the probability that is wanted spread over all tokens.
        """
        time = target.shape[-1] + 1
        place = jnp.arange(time).reshape((1,) * target_lengths.ndim + (time,))
        longer = _padded(target, 0, 1, self.end)
        wanted = jnp.where(place == target_lengths[..., None], self.end, longer)
        mask = length_mask(target_lengths + 1, time)
        if counts is not None:
            mask &= counts[..., None]
        nats = cross_entropy(logits, wanted, mask, smoothing=smoothing)
        return nats, mask.sum().astype(jnp.float32)

    def search(
        self,
        source: Any,
        *,
        length: int,
        beams: int = 5,
        penalty: float = 0.0,
        lengths: Array | None = None,
        rows: Array | None = None,
        allowed: Constraint | None = None,
        state: Any = (),
    ) -> Beams:
        """The likeliest targets by beam search; see `seqjax.decode.search.beam_search`.

        Args:
          source: what the encoder reads.
          length: tokens of a target, at most.
          beams, penalty, allowed, state: see `beam_search`.
          lengths: `(*batch,)`, how many steps of the source count.
          rows: `(*batch,)` bool, the rows that are wanted; nothing is written for the others.
        """
        encoded = self.encoder(source, lengths=lengths)
        step, carry = self.decoder.start(encoded, beams=True)
        begin = jnp.full(encoded.summary.shape[:-1], self.begin, jnp.int32)
        return beam_search(
            step, carry, begin, end=self.end, length=length, beams=beams, penalty=penalty,
            allowed=allowed, state=state, rows=rows,
        )  # fmt: skip

    def write(
        self,
        source: Any,
        *,
        length: int,
        lengths: Array | None = None,
        rows: Array | None = None,
        key: PRNGKeyArray | None = None,
        **options: Any,
    ) -> Written:
        """One target for each source, greedily or drawn; see `seqjax.decode.search.write`.

        Args:
          source: what the encoder reads.
          length: tokens of a target, at most.
          lengths: `(*batch,)`, how many steps of the source count.
          rows: `(*batch,)` bool, the rows that are wanted; nothing is written for the others.
          key: for drawing; None takes the likeliest token each time.
          **options: see `write`.
        """
        encoded = self.encoder(source, lengths=lengths)
        step, carry = self.decoder.start(encoded)
        begin = jnp.full(encoded.summary.shape[:-1], self.begin, jnp.int32)
        return write(step, carry, begin, end=self.end, length=length, key=key, rows=rows, **options)

    def alignment(self, source: Any, target: Array, *, lengths: Array | None = None) -> Array:
        """Where attention looks for each token of the target and for its end.

        Returns:
          `(*batch, time + 1, places)`; each row adds up to 1.
        """
        tokens = _padded(target, 1, 0, self.begin)
        return self.decoder.alignment(tokens, self.encoder(source, lengths=lengths))


def _padded(target: Array, before: int, behind: int, token: int) -> Array:
    """A target, which may have no tokens, with some before and behind it."""
    rows = [(0, 0)] * (target.ndim - 1)
    return jnp.pad(target, [*rows, (before, behind)], constant_values=token)


def _is_zero(rate: float | Array) -> bool:
    return isinstance(rate, (int, float)) and rate == 0


def _coins(key: PRNGKeyArray | RowKeys, rate: float | Array, shape: tuple[int, ...]) -> Array:
    rate = jnp.broadcast_to(rate, shape[:-1])
    if key.ndim:
        flip = jnp.vectorize(
            lambda one, rate: jax.random.bernoulli(one, rate, shape[-1:]), signature="(),()->(t)"
        )
        return flip(key, rate)
    return jax.random.bernoulli(key, rate[..., None], shape)
