"""Numbers that say how well a text is predicted."""

import bz2
import lzma
import math
from collections.abc import Hashable, Sequence

import jax.numpy as jnp

from seqjax.core.extras import extra_module
from seqjax.metrics.sums import Mean

Tokens = Sequence[Hashable]


def bits_per_character(nats: float, characters: int) -> float:
    """`nats / ln 2 / characters`: what a character costs to write down, in bits.

    Args:
      nats: negative log-likelihood of a text, in nats.
      characters: how many characters it has, at least 1.

    Example:
      >>> import math
      >>> from seqjax.metrics import bits_per_character
      >>> bits_per_character(10 * math.log(8), 10)        # ten characters out of eight
      3.0
    """
    if characters < 1:
        raise ValueError(f"bits_per_character: no characters to divide by ({characters}).")
    return nats / math.log(2) / characters


def compressed_bits_per_character(text: str) -> dict[str, float]:
    """What `bz2` and `xz` need for the same text, in bits per character: a yardstick.

    The compressors learn from the text itself, and count what they have learned from it.

    Example:
      >>> from seqjax.metrics import compressed_bits_per_character
      >>> found = compressed_bits_per_character("to be or not to be " * 100)
      >>> sorted(found), found["xz"] < 1
      (['bz2', 'xz'], True)
    """
    content = text.encode()
    sizes = {"bz2": len(bz2.compress(content, 9)), "xz": len(lzma.compress(content, preset=9))}
    return {name: 8 * size / len(text) for name, size in sizes.items()}


def token_errors(written: Sequence[Tokens], right: Sequence[Sequence[Tokens]]) -> Mean:
    """The token error rate: insertions, deletions and substitutions for each right token.

    With words as tokens this is the word error rate, with characters the character error rate,
    with phonemes the phoneme error rate.

    Args:
      written: token sequences.
      right: for each of them the right answers; the one with the fewest errors counts.

    Returns:
      A `Mean`; its value may be above 1.

    Raises:
      ImportError: if rapidfuzz, which jiwer brings, is not installed.

    Example:
      >>> from seqjax.metrics import token_errors
      >>> float(token_errors(["cat", "dgo"], [["cat"], ["dog", "god"]]).value)
      0.3333333432674408
    """
    distance = extra_module("rapidfuzz.distance", "train").Levenshtein.distance
    errors = tokens = 0
    for one, several in zip(written, right, strict=True):
        found = [(distance(one, answer), -len(answer)) for answer in several]
        fewest, length = min(found)
        errors, tokens = errors + fewest, tokens - length
    return Mean(jnp.float32(errors), jnp.float32(tokens))


def exact_matches(written: Sequence[Tokens], right: Sequence[Sequence[Tokens]]) -> Mean:
    """The share of sequences that are equal to a right answer.

    Example:
      >>> from seqjax.metrics import exact_matches
      >>> float(exact_matches(["cat", "dgo"], [["cat"], ["dog", "god"]]).value)
      0.5
    """
    pairs = zip(written, right, strict=True)
    hits = sum(any(list(one) == list(answer) for answer in several) for one, several in pairs)
    return Mean(jnp.float32(hits), jnp.float32(len(written)))


def translation_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """BLEU and chrF of translations, from 0 to 100, by sacrebleu.

    Args:
      texts: one translation for each sentence.
      references: for each of them the right translations.

    Returns:
      `bleu` and `chrf`.

    Raises:
      ImportError: if sacrebleu is not installed.

    Example:
      >>> from seqjax.metrics import translation_scores
      >>> found = translation_scores(["the cat sat on the mat"], [["the cat sat on the mat"]])
      >>> round(found["bleu"]), round(found["chrf"])
      (100, 100)

    Source: Papineni et al. 2002; Popovic 2015; Post 2018, arXiv:1804.08771.
    """
    sacrebleu = extra_module("sacrebleu", "train")
    most = max(map(len, references))
    # One list for each reference; a sentence that has fewer repeats its first.
    columns = [[row[i] if i < len(row) else row[0] for row in references] for i in range(most)]
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(texts), columns).score),
        "chrf": float(sacrebleu.corpus_chrf(list(texts), columns).score),
    }
