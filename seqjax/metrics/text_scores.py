"""Metrics of texts and token sequences."""

import bz2
import lzma
import math
from collections.abc import Hashable, Sequence

import jax.numpy as jnp

from seqjax.core.extras import extra_module
from seqjax.metrics.sums import Mean

Tokens = Sequence[Hashable]


def bits_per_character(nats: float, characters: int) -> float:
    """`nats / ln 2 / characters`: the cross-entropy per character, in bits.

    Args:
      nats: negative log-likelihood of a text, in nats.
      characters: length of the text, at least 1.

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
    """The compression rates of `bz2` and `xz` in bits per character, as a baseline.

    The compressors adapt to the text itself, at a cost that is included.

    Example:
      >>> from seqjax.metrics import compressed_bits_per_character
      >>> found = compressed_bits_per_character("to be or not to be " * 100)
      >>> sorted(found), found["xz"] < 1
      (['bz2', 'xz'], True)
    """
    content = text.encode()
    sizes = {"bz2": len(bz2.compress(content, 9)), "xz": len(lzma.compress(content, preset=9))}
    return {name: 8 * size / len(text) for name, size in sizes.items()}


def token_errors(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Mean:
    """The token error rate: insertions, deletions and substitutions per reference token.

    The word error rate if tokens are words, the character error rate if they are characters, the
    phoneme error rate if they are phonemes.

    Args:
      hypotheses: token sequences.
      references: for each of them the alternative references; the one with the fewest errors
        counts.

    Returns:
      A `Mean`; its value may be above 1.

    Raises:
      ImportError: if rapidfuzz, a dependency of jiwer, is not installed.

    Example:
      >>> from seqjax.metrics import token_errors
      >>> float(token_errors(["cat", "dgo"], [["cat"], ["dog", "god"]]).value)
      0.3333333432674408
    """
    distance = extra_module("rapidfuzz.distance", "train").Levenshtein.distance
    errors = tokens = 0
    for hypothesis, alternatives in zip(hypotheses, references, strict=True):
        found = [(distance(hypothesis, one), -len(one)) for one in alternatives]
        fewest, length = min(found)
        errors, tokens = errors + fewest, tokens - length
    return Mean(jnp.float32(errors), jnp.float32(tokens))


def exact_matches(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Mean:
    """The share of hypotheses that equal one of their references.

    Example:
      >>> from seqjax.metrics import exact_matches
      >>> float(exact_matches(["cat", "dgo"], [["cat"], ["dog", "god"]]).value)
      0.5
    """
    hits = sum(
        any(list(hypothesis) == list(one) for one in alternatives)
        for hypothesis, alternatives in zip(hypotheses, references, strict=True)
    )
    return Mean(jnp.float32(hits), jnp.float32(len(hypotheses)))


def translation_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """BLEU and chrF of translations, from 0 to 100, by sacrebleu.

    Args:
      hypotheses: one translation per sentence.
      references: for each of them the alternative reference translations.

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
    # One list per alternative; a sentence with fewer alternatives repeats its first.
    columns = [[own[i] if i < len(own) else own[0] for own in references] for i in range(most)]
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(hypotheses), columns).score),
        "chrf": float(sacrebleu.corpus_chrf(list(hypotheses), columns).score),
    }
