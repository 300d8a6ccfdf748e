"""Word embeddings with a character-level part."""

import jax.numpy as jnp
from flax import nnx

from seqjax.cells.gru import gru
from seqjax.core.types import Array
from seqjax.nn import pooling
from seqjax.nn.rnn import RNN


def token_embedding(count: int, width: int, *, rngs: nnx.Rngs) -> nnx.Embed:
    """An `nnx.Embed` whose vectors have the dtype of its table, also after `sj.cast`.

    Args:
      count: number of tokens.
      width: of the vectors.
      rngs: the source of the table's key.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.nn.embedding import token_embedding
      >>> embed = token_embedding(100, 30, rngs=nnx.Rngs(0))
      >>> sj.cast(embed, jnp.bfloat16)(jnp.ones(2, int)).dtype
      dtype(bfloat16)
    """
    embed = nnx.Embed(count, width, rngs=rngs)
    # Flax notes the dtype in which the table was made, and casts to it ever after.
    embed.dtype = None
    return embed


class WordEmbedding(nnx.Module):
    """An embedding of words, from a table and from their characters.

        spelled = ends of scan(gru, characters of the word)
        vector  = [table[word], spelled]

    Prefixes and suffixes inform the embedding of words that were never seen in training.

    Args:
      words: size of the word vocabulary.
      characters: size of the character vocabulary.
      word_size: width of the word table.
      character_size: width of the character table.
      spelling: width of each of the two GRUs over the characters, forward and backward.
      rngs: the source of the parameters' keys.

    Attributes:
      features: width of the vectors.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> embed = sj.nn.WordEmbedding(100, 30, rngs=nnx.Rngs(0))
      >>> words, characters = jnp.ones((2, 5), int), jnp.ones((2, 5, 8), int)
      >>> embed((words, characters)).shape == (2, 5, embed.features)
      True

    Source: Ling et al. 2015, arXiv:1508.02096; Lample et al. 2016, arXiv:1603.01360.
    """

    def __init__(
        self,
        words: int,
        characters: int,
        *,
        word_size: int = 64,
        character_size: int = 24,
        spelling: int = 32,
        rngs: nnx.Rngs,
    ):
        cell = gru(spelling)
        self.words = token_embedding(words, word_size, rngs=rngs)
        self.characters = token_embedding(characters, character_size, rngs=rngs)
        self.forward = RNN(cell, character_size, rngs=rngs)
        self.backward = RNN(cell, character_size, rngs=rngs)
        self.features = word_size + 2 * spelling

    def __call__(self, tokens: tuple[Array, Array]) -> Array:
        """The vectors `(*batch, time, features)`.

        Args:
          tokens: `(words, characters)`: `(*batch, time)` ints, and `(*batch, time, letters)`
            ints, padded with 0.
        """
        words, characters = tokens
        written = characters > 0
        letters = self.characters(characters)
        ahead = pooling.last(self.forward(letters, mask=written)[1], written)
        back = pooling.first(self.backward(letters, mask=written, reverse=True)[1], written)
        return jnp.concatenate([self.words(words), ahead, back], -1)
