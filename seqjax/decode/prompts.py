"""How a language model reads a prompt: piece by piece, and what it has read before from a cache."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.trees import tree_bytes
from seqjax.core.types import Array, Carry


@runtime_checkable
class TokenModel(Protocol):
    """A language model: logits of the next token, for a sequence or step by step.

    `sj.nn.LanguageModel` is one. It must be a pytree.
    """

    vocabulary_size: int

    def __call__(self, tokens: Array, carry: Carry, **options: Any) -> tuple[Carry, Array]:
        """`(carry, logits)` for `(*batch, time)` tokens; takes the options of `sj.scan`."""
        ...

    def step(self, carry: Carry, token: Array) -> tuple[Carry, Array]:
        """`(carry, logits)` for one token per sequence."""
        ...

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """The carry before the first token."""
        ...


PIECE = 32
"""Number of tokens that are sampled, or read from the prompt, per compiled call."""


def read_prompt(model: TokenModel, tokens: np.ndarray) -> Carry:
    """The carry after `(n,)` tokens."""
    carry = model.initial_carry()
    for start in range(0, len(tokens), PIECE):
        carry = _read_piece(model, carry, tokens[start : start + PIECE])
    return carry


def forked(carry: Carry, count: int) -> Carry:
    """The same carry for `count` sequences, as a batch dimension in front.

    They go their own ways from there: to `seqjax.decode.autoregressive.write` and to a beam search
    it is the carry of a batch.

    Args:
      carry: of one sequence.
      count: number of sequences.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.prompts import forked
      >>> forked({"hidden": jnp.zeros(3)}, 4)["hidden"].shape
      (4, 3)
    """
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), carry)


class PrefixCache:
    """What a language model remembers after prompts and their beginnings: none is read twice.

    A state is saved after every `PIECE` tokens of a prompt and at its end. A prompt that begins
    like an earlier one is read from the last common state on. Its carry is, bit for bit, that of a
    prompt read alone: pieces begin at the same tokens. As arrays never change, a state may be used
    any number of times: to sample from a prompt several times, to fork it (`forked`), or to roll
    back, which is to read the beginning of what was read.

    Args:
      model: the language model. The states are those of its parameters as they are: after more
        training, make a new cache.
      max_bytes: of all states. Those not used for longest are dropped first, and of one prompt the
        longer ones.

    Attributes:
      model, max_bytes: as given.
      tokens_read: number of tokens that were read so far.
      tokens_reused: number of tokens that were known.

    Raises:
      ValueError: if `max_bytes` is below 0.

    Example:
      >>> import numpy as np
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.decode.prompts import PrefixCache
      >>> model = sj.nn.LanguageModel(50, sj.gru(8), embedding_size=4, rngs=nnx.Rngs(0))
      >>> cache = PrefixCache(model)
      >>> question = np.arange(40)
      >>> carry = cache.read(question)
      >>> carry = cache.read(np.append(question, [7, 8]))
      >>> cache.tokens_read, cache.tokens_reused
      (50, 32)
    """

    def __init__(self, model: TokenModel, *, max_bytes: int = 2**28):
        if max_bytes < 0:
            raise ValueError(f"PrefixCache: `max_bytes` must be 0 or more, got {max_bytes}.")
        self.model = model
        self.max_bytes = max_bytes
        self.tokens_read = self.tokens_reused = 0
        self._states: OrderedDict[bytes, Carry] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What all states take."""
        return sum(map(tree_bytes, self._states.values()))

    def read(self, tokens: Any) -> Carry:
        """The carry after `(n,)` tokens, of which known beginnings are not read again."""
        tokens = np.asarray(tokens)
        size = self.model.vocabulary_size
        whole = tokens.size == 0 or np.issubdtype(tokens.dtype, np.integer)
        if tokens.ndim != 1 or not whole or ((tokens < 0) | (tokens >= size)).any():
            raise ValueError(
                f"PrefixCache: expected `(n,)` tokens, whole numbers from 0 to {size - 1}; got "
                f"{tokens.dtype} of shape {tokens.shape}, such as {tokens.ravel()[:4].tolist()}."
            )
        tokens = tokens.astype(np.int32)
        prefixes = list(_prefixes(tokens))
        known = [end for end, name in prefixes if name in self._states]
        start = known[-1] if known else 0
        names = {end: name for end, name in prefixes}
        carry = self._states[names[start]] if known else self.model.initial_carry()
        self.tokens_reused += start
        for end, name in prefixes:
            if end > start:
                carry = _read_piece(self.model, carry, tokens[start:end])
                self.tokens_read += end - start
                start = end
                self._save(name, carry, set(names.values()))
        # The shortest, which most prompts share, was used last.
        for _, name in reversed(prefixes):
            if name in self._states:
                self._states.move_to_end(name)
        return carry

    def _save(self, name: bytes, carry: Carry, prompt: set[bytes]) -> None:
        """Keeps a state if there is room for it beside the others of the same prompt."""
        free = self.max_bytes - self.held_bytes - tree_bytes(carry)
        for other in [other for other in self._states if other not in prompt]:
            if free >= 0:
                break
            free += tree_bytes(self._states.pop(other))
        if free >= 0:
            self._states[name] = carry


def _prefixes(tokens: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """The ends of pieces, and for each a name of all tokens up to it."""
    name = b""
    for start in range(0, len(tokens), PIECE):
        piece = tokens[start : start + PIECE]
        name = hashlib.blake2b(name + piece.tobytes(), digest_size=16).digest()
        yield start + len(piece), name


def _read_piece(model: TokenModel, carry: Carry, tokens: np.ndarray) -> Carry:
    padded = np.pad(tokens, (0, PIECE - len(tokens)))
    return _read(model, carry, padded, np.int32(len(tokens)))


@jax.jit
def _read(model: Any, carry: Carry, tokens: Array, length: Array) -> Carry:
    return model(tokens, carry, lengths=length)[0]
