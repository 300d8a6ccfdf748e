"""A decoder that generates tokens conditioned on an encoder's output."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax.cells.attentive import AttentiveState, attend_to, is_attentive, memory_features
from seqjax.core.attention import map_memories
from seqjax.core.cell import Cell, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.gates import like_features
from seqjax.core.noise import seed_carry
from seqjax.core.recurrence import AnyStep
from seqjax.core.stack import no_step
from seqjax.core.trees import is_float
from seqjax.core.types import Array, BatchKeys, Carry, Params, PRNGKeyArray, PyTree
from seqjax.decode.autoregressive import NextToken
from seqjax.engines.scan import trajectory
from seqjax.nn.embedding import token_embedding
from seqjax.nn.encoder import Encoded
from seqjax.nn.rnn import RNN


@exportable
class ScheduledSamplingState(NamedTuple):
    """The carry of the cell inside, and the token that the model itself predicted last."""

    cell: Carry
    token: Array


class Decoder(nnx.Module):
    """A recurrent decoder.

        first carry = tanh(summary V + c)
        x_t         = embedding[token before t]
        carry, y_t  = cell.step(x_t), which may attend to the source positions
        logits_t    = y_t W + b                          W = embedding' if tied

    Args:
      vocabulary_size: number of tokens.
      cell: any cell that has a step; one from `sj.attentive` attends. All vectors of its initial
        carry are set from the summary. A state of which only some fields may be set, because
        others are normalizers, scales or a value relative to these, says so in a class attribute:
        `settable = ("hidden",)`.
      summary_features: width of the encoder's summary.
      embedding_size: width of the embedding.
      tied: use the embedding as the weights of the output layer, after a linear layer if the widths
        differ.
      rngs: the source of the parameters' keys.

    Raises:
      TypeError: if the cell has no step.
      ValueError: if the encoder cannot reach the cell, which neither attends nor has a vector to
        set; or `settable` of a state names no field.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> encoder = sj.nn.VectorEncoder(6)
      >>> decoder = sj.nn.Decoder(20, sj.gru(8), 6, embedding_size=4, rngs=nnx.Rngs(0))
      >>> logits = decoder(jnp.zeros((2, 5), int), encoder(jnp.ones((2, 6))))
      >>> logits.shape
      (2, 5, 20)

    Source: Sutskever, Vinyals and Le 2014, arXiv:1409.3215; Bahdanau, Cho and Bengio 2014,
    arXiv:1409.0473.
    """

    def __init__(
        self,
        vocabulary_size: int,
        cell: Cell,
        summary_features: int,
        *,
        embedding_size: int,
        tied: bool = False,
        rngs: nnx.Rngs,
    ):
        if not cell.causal:
            no_step("Decoder", (cell,))(None, None, None)
        self.vocabulary_size = positive_int("Decoder", "vocabulary_size", vocabulary_size)
        self.tied = tied
        self.embedding = token_embedding(vocabulary_size, embedding_size, rngs=rngs)
        self.rnn = RNN(cell, embedding_size, rngs=rngs)
        bridge = _vector_features(cell, self.rnn.params)
        if not bridge and not is_attentive(self.rnn.params):
            raise ValueError(
                f"Decoder: nothing of the encoder would reach {cell}: it does not attend, and its "
                "carry has no hidden vector that could be set. Wrap it in sj.attentive, or use "
                "another cell, such as sj.lstm."
            )
        self.bridge = nnx.Linear(summary_features, bridge, rngs=rngs) if bridge else None
        between = tied and cell.features != embedding_size
        self.between = nnx.Linear(cell.features, embedding_size, rngs=rngs) if between else None
        if tied:
            self.bias = nnx.Param(jnp.zeros((vocabulary_size,)))
        else:
            self.head = nnx.Linear(cell.features, vocabulary_size, rngs=rngs)

    def __call__(
        self,
        tokens: Array,
        encoded: Encoded,
        *,
        lengths: Array | None = None,
        key: PRNGKeyArray | BatchKeys | None = None,
        predicted: Array | None = None,
    ) -> Array:
        """The logits `(*batch, time, vocabulary_size)` of the token after each of `tokens`.

        Args:
          tokens: `(*batch, time)` ints: the begin token and then the target (teacher forcing).
          encoded: from the encoder.
          lengths: `(*batch,)` ints, valid tokens.
          key: switches dropout and zoneout on.
          predicted: `(*batch, time)` bool, the steps at which the model reads its own most
            probable prediction instead of the given token (scheduled sampling, Bengio et al. 2015,
            arXiv:1506.03099).
        """
        params, carry = self._conditioned(encoded, key)
        if predicted is None:
            vectors = self.embedding(tokens)
            _, ys = self.rnn._scan(self.rnn.cell, params, vectors, carry, lengths=lengths)
            return _logits(self._head(), ys)
        begin = ScheduledSamplingState(carry, tokens[..., 0])
        weights = {"cell": params, "head": self._head()}
        weights["embedding"] = self.embedding.embedding.get_value()
        xs = (tokens, predicted.at[..., 0].set(False))
        return self.rnn._scan(self._self_feeding(), weights, xs, begin, lengths=lengths)[1]

    def start(self, encoded: Encoded, *, beams: bool = False) -> tuple[NextToken, Carry]:
        """`(step, carry)` for `seqjax.decode`: the next token's logits, token by token.

        Args:
          encoded: from the encoder.
          beams: whether the step is called with a trailing batch dimension for beams, which share
            the encoder's output.
        """
        params, carry = self._conditioned(encoded, None)
        if beams:
            params = map_memories(lambda memory: memory.beside(0), params)
        head = self._head()

        def step(carry: Carry, token: Array) -> tuple[Carry, Array]:
            carry, y = self.rnn.cell.step(params, carry, self.embedding(token))
            return carry, _logits(head, y)

        return step, carry

    def alignment(self, tokens: Array, encoded: Encoded) -> Array:
        """The attention weights before each next token, `(*batch, time, source)`.

        Args:
          tokens: `(*batch, time)`, the begin token and the target.
          encoded: from the encoder.

        Raises:
          ValueError: if the cell does not attend.
        """
        params, carry = self._conditioned(encoded, None)
        carries = trajectory(self.rnn.cell, params, self.embedding(tokens), carry)
        nodes = jax.tree.leaves(carries, is_leaf=lambda node: isinstance(node, AttentiveState))
        found = [node.weights for node in nodes if isinstance(node, AttentiveState)]
        if not found:
            raise ValueError(f"Decoder: {self.rnn.cell} does not attend; use sj.attentive.")
        return found[-1]

    def _conditioned(
        self, encoded: Encoded, key: PRNGKeyArray | BatchKeys | None
    ) -> tuple[Params, Carry]:
        """The cell's parameters with the memory it attends to, and its first carry."""
        params = self.rnn.params
        if is_attentive(params):
            params = attend_to(params, encoded.values, encoded.valid)
        batch_shape = encoded.summary.shape[:-1]
        carry = self.rnn.cell.initial_carry(params, batch_shape)
        if self.bridge is not None:
            made = jnp.tanh(self.bridge(encoded.summary))
            carry = _with_vectors(carry, len(batch_shape), made)
        return params, carry if key is None else seed_carry(carry, key)

    def _head(self) -> dict[str, Array]:
        value = lambda variable: variable.get_value()  # noqa: E731
        if not self.tied:
            return {"kernel": value(self.head.kernel), "bias": value(self.head.bias)}
        head = {"kernel": value(self.embedding.embedding).T, "bias": value(self.bias)}
        if self.between is not None:
            head["between"] = value(self.between.kernel)
            head["between_bias"] = value(self.between.bias)
        return head

    def _self_feeding(self) -> Cell:
        """A cell over pairs `(token, predicted)` that reads its own prediction where told to."""
        cell = self.rnn.cell

        def step(params, carry, now):
            given, predicted = now
            token = jnp.where(predicted, carry.token, given)
            inner, y = cell.step(params["cell"], carry.cell, params["embedding"][token])
            logits = _logits(params["head"], y)
            prediction = jnp.argmax(logits, -1).astype(carry.token.dtype)
            return ScheduledSamplingState(inner, prediction), logits

        def initial_carry(params, batch_shape=()):
            inner = cell.initial_carry(params["cell"], batch_shape)
            return ScheduledSamplingState(inner, jnp.zeros(batch_shape, jnp.int32))

        return Cell(
            init=lambda key, in_features: {},
            initial_carry=initial_carry,
            step=step,
            features=self.vocabulary_size,
            input_ndim=(0, 0),
            structure=AnyStep(),
        )


def _logits(head: dict[str, Array], ys: Array) -> Array:
    def add(x: Array, bias: Array) -> Array:
        return x + like_features(bias, x)

    if "between" in head:
        ys = add(ys @ head["between"], head["between_bias"])
    return add(ys @ head["kernel"], head["bias"])


def _settable(carry: Carry, batch_ndim: int) -> PyTree:
    """For each leaf of a carry whether an encoder may set it; see `Decoder`."""

    def visit(node: Any) -> Any:
        if not _declares(node):
            return is_float(node) and node.ndim == batch_ndim + 1
        if unknown := set(node.settable) - set(node._fields):
            raise ValueError(
                f"Decoder: `settable` of {type(node).__name__} must name fields of the state, "
                f"{', '.join(node._fields)}; got {', '.join(sorted(unknown))}."
            )
        none = jax.tree.map(lambda leaf: False, node)
        chosen = {name: _settable(getattr(node, name), batch_ndim) for name in node.settable}
        return none._replace(**chosen)

    return jax.tree.map(visit, carry, is_leaf=_declares)


def _declares(node: Any) -> bool:
    return hasattr(type(node), "_fields") and hasattr(type(node), "settable")


def _vector_features(cell: Cell, params: Params) -> int:
    """The total width of the vectors of the carry that an encoder may set."""

    def carry(params):
        if is_attentive(params):
            params = attend_to(params, jnp.zeros((1, memory_features(params))))
        return cell.initial_carry(params)

    start = jax.eval_shape(carry, params)
    pairs = zip(jax.tree.leaves(start), jax.tree.leaves(_settable(start, 0)), strict=True)
    return sum(leaf.shape[-1] for leaf, settable in pairs if settable)


def _with_vectors(carry: Carry, batch_ndim: int, made: Array) -> Carry:
    """The carry with its settable vectors sliced from `(*batch, features)`, layer by layer."""
    paths, leaves = zip(*jax.tree.leaves_with_path(carry), strict=True)
    leaves = list(leaves)
    settable = np.flatnonzero(jax.tree.leaves(_settable(carry, batch_ndim)))
    used = 0
    for place in sorted(settable, key=lambda place: _layers(paths[place])):
        width = leaves[place].shape[-1]
        leaves[place] = made[..., used : used + width].astype(leaves[place].dtype)
        used += width
    return jax.tree.unflatten(jax.tree.structure(carry), leaves)


def _layers(path: tuple) -> list[int]:
    """The numbers of the layers on a path: JAX sorts layers by name, `lstm_1` before `rnn_0`."""
    names = (str(getattr(key, "key", "")) for key in path)
    return [int(found[1]) for name in names if (found := re.search(r"_(\d+)$", name))]
