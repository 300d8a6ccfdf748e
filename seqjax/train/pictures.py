"""Pictures of a run: where they are saved, and how tokens and images show in them."""

import re
from pathlib import Path
from typing import Any

import numpy as np


def save_pictures(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Writes each figure as `NAME.png` below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        # Columns may be called anything.
        paths.append(folder / (re.sub(r"[^\w.-]", "_", name) + ".png"))
        figure.savefig(paths[-1], dpi=150)
    return paths


def token_name(vocabulary: Any, token: int) -> str:
    """A token as the label of an axis, blanks made visible."""
    text: str = vocabulary.decode([token])
    return {" ": "\N{OPEN BOX}", "\n": "\N{RETURN SYMBOL}"}.get(text, text)


def to_range(images: np.ndarray) -> np.ndarray:
    """Images of any range in 0..1, three channels or one.

    Example:
      >>> import numpy as np
      >>> from seqjax.train.pictures import to_range
      >>> to_range(np.array([[[2.0], [4.0]]]))[0, :, 0].tolist()
      [0.0, 1.0]
    """
    images = images if images.shape[-1] in (1, 3) else images[..., :1]
    low, high = images.min(), images.max()
    return (images - low) / max(high - low, 1e-9)
