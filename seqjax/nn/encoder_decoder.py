"""Encoder-decoder models: from a sequence, a vector or an image to a sequence."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.keys import batchable
from seqjax.core.masks import length_mask
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.decode.autoregressive import Constraint, Written, write
from seqjax.decode.search import Beams, beam_search
from seqjax.losses import cross_entropy
from seqjax.nn.decoder import Decoder


class EncoderDecoder(nnx.Module):
    """An encoder-decoder (sequence-to-sequence) model.

        encoded = encoder(source)
        p(target) = product over t of softmax(decoder(target before t, encoded))[target_t]

    Args:
      encoder: `RecurrentEncoder`, `ImageEncoder`, `VectorEncoder`, or any module that returns
        `Encoded` and has attributes `features` and `summary_features`.
      decoder: with the encoder's `summary_features`; and with its `features` as
        `memory_features`, if its cell attends.
      begin: the begin token.
      end: the end token.

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
      >>> model.search(source, beams=4, max_length=9).tokens.shape
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
        key: PRNGKeyArray | BatchKeys | None = None,
        scheduled_sampling: float | Array = 0.0,
    ) -> Array:
        """The logits `(*batch, time + 1, tokens)` of every token of the target and of its end.

        Args:
          source: the encoder's input.
          target: `(*batch, time)` ints, without begin and end tokens.
          lengths: `(*batch,)`, valid steps of the source.
          target_lengths: `(*batch,)`, valid tokens of the target.
          key: switches dropout and zoneout on; needed for `scheduled_sampling`.
          scheduled_sampling: probability that the decoder reads its own prediction instead of the
            previous target token; a number or one per sequence, `(*batch,)`.
        """
        predicted = None
        encoder_key = decoder_key = None
        if key is not None:
            key = batchable(key)
            split = jnp.vectorize(jax.random.fold_in, signature="(),()->()")
            encoder_key, decoder_key, coins = (split(key, number) for number in range(3))
            if not _is_zero(scheduled_sampling):
                shape = (*target.shape[:-1], target.shape[-1] + 1)
                predicted = _coins(coins, scheduled_sampling, shape)
        elif not _is_zero(scheduled_sampling):
            raise ValueError("EncoderDecoder: scheduled_sampling needs a key.")
        encoded = self.encoder(source, lengths=lengths, key=encoder_key)
        tokens = _padded(target, 1, 0, self.begin)
        ends = None if target_lengths is None else target_lengths + 1
        return self.decoder(tokens, encoded, lengths=ends, key=decoder_key, predicted=predicted)

    def loss(
        self,
        logits: Array,
        target: Array,
        target_lengths: Array,
        *,
        mask: Array | None = None,
        label_smoothing: float = 0.0,
    ) -> tuple[Array, Array]:
        """`(nats, tokens)`: the cross-entropy summed over all tokens and ends, and their number.

        Args:
          logits: from a call.
          target: `(*batch, time)`.
          target_lengths: `(*batch,)`.
          mask: `(*batch,)` bool, the sequences that count.
          label_smoothing: see `seqjax.losses.cross_entropy`.
        """
        time = target.shape[-1] + 1
        step = jnp.arange(time).reshape((1,) * target_lengths.ndim + (time,))
        longer = _padded(target, 0, 1, self.end)
        wanted = jnp.where(step == target_lengths[..., None], self.end, longer)
        valid = length_mask(target_lengths + 1, time)
        if mask is not None:
            valid &= mask[..., None]
        nats = cross_entropy(logits, wanted, valid, label_smoothing=label_smoothing)
        return nats, valid.sum().astype(jnp.float32)

    def search(
        self,
        source: Any,
        *,
        max_length: int,
        beams: int = 5,
        length_penalty: float = 0.0,
        lengths: Array | None = None,
        active: Array | None = None,
        allowed: Constraint | None = None,
        state: Any = (),
    ) -> Beams:
        """Targets by beam search; see `seqjax.decode.search.beam_search`.

        Args:
          source: the encoder's input.
          max_length, beams, length_penalty, active, allowed, state: see `beam_search`.
          lengths: `(*batch,)`, valid steps of the source.
        """
        encoded = self.encoder(source, lengths=lengths)
        step, carry = self.decoder.start(encoded, beams=True)
        begin = jnp.full(encoded.summary.shape[:-1], self.begin, jnp.int32)
        return beam_search(
            step, carry, begin, end=self.end, max_length=max_length, beams=beams,
            length_penalty=length_penalty, allowed=allowed, state=state, active=active,
        )  # fmt: skip

    def write(
        self,
        source: Any,
        *,
        max_length: int,
        lengths: Array | None = None,
        key: PRNGKeyArray | None = None,
        **options: Any,
    ) -> Written:
        """One target per source, greedily or by sampling; see `seqjax.decode.autoregressive.write`.

        Args:
          source: the encoder's input.
          max_length: maximum number of tokens.
          lengths: `(*batch,)`, valid steps of the source.
          key: for sampling; None is greedy decoding.
          **options: the other options of `write`.
        """
        encoded = self.encoder(source, lengths=lengths)
        step, carry = self.decoder.start(encoded)
        begin = jnp.full(encoded.summary.shape[:-1], self.begin, jnp.int32)
        return write(step, carry, begin, end=self.end, max_length=max_length, key=key, **options)

    def alignment(self, source: Any, target: Array, *, lengths: Array | None = None) -> Array:
        """The attention weights for each token of the target and for its end.

        Returns:
          `(*batch, time + 1, source)`, summing to 1 over the source positions.
        """
        tokens = _padded(target, 1, 0, self.begin)
        return self.decoder.alignment(tokens, self.encoder(source, lengths=lengths))


def _padded(target: Array, before: int, behind: int, token: int) -> Array:
    """A target, possibly empty, with `token` repeated before and behind it."""
    batch = [(0, 0)] * (target.ndim - 1)
    return jnp.pad(target, [*batch, (before, behind)], constant_values=token)


def _is_zero(rate: float | Array) -> bool:
    return isinstance(rate, (int, float)) and rate == 0


def _coins(key: PRNGKeyArray | BatchKeys, rate: float | Array, shape: tuple[int, ...]) -> Array:
    rate = jnp.broadcast_to(rate, shape[:-1])
    if key.ndim:
        flip = jnp.vectorize(
            lambda one, rate: jax.random.bernoulli(one, rate, shape[-1:]), signature="(),()->(t)"
        )
        return flip(key, rate)
    return jax.random.bernoulli(key, rate[..., None], shape)
