"""Numbers that say how well a text is predicted."""

import bz2
import lzma
import math


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
    """
    content = text.encode()
    sizes = {"bz2": len(bz2.compress(content, 9)), "xz": len(lzma.compress(content, preset=9))}
    return {name: 8 * size / len(text) for name, size in sizes.items()}
