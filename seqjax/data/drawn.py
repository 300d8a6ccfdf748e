"""Procedurally generated images, clips and digit strings, for image-to-sequence tasks.

All are functions of a seed. Captions follow a small grammar, so a prediction is exactly right or
wrong.
"""

from typing import Any

import numpy as np

from seqjax.data.datasets import load_classification
from seqjax.data.examples import Example
from seqjax.data.pairs import Split

SIZE = 24
"""Side of a scene in pixels."""

COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.2, 0.3, 0.95),
    "yellow": (0.95, 0.9, 0.1),
    "purple": (0.7, 0.2, 0.8),
    "white": (0.95, 0.95, 0.95),
}
SHAPES = ("square", "circle", "triangle", "cross")
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
"""Position of the first object relative to the second: (down, right)."""

MOTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
FRAME = 16
"""Side of a frame in pixels."""


def draw_shape(name: str, size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """The mask of a shape, `(size, size)` bool."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    down, right = rows - centre[0], columns - centre[1]
    if name == "square":
        return np.maximum(abs(down), abs(right)) <= 0.85 * radius
    if name == "circle":
        return down**2 + right**2 <= radius**2
    if name == "triangle":
        return (abs(right) <= (down + radius) / 2) & (down <= radius) & (down >= -radius)
    arms = np.minimum(abs(down), abs(right)) <= 0.34 * radius
    return arms & (np.maximum(abs(down), abs(right)) <= radius)


def scenes(count: int = 10_000, seed: int = 0) -> Split:
    """Images of two objects, captioned with their spatial relation.

    "a red circle above a blue square": the first is the larger one. A tenth of all combinations of
    colours, shapes and relation is held out for the test and a twentieth for validation.

    Returns:
      `(train, validation, test)`, inputs `(24, 24, 3)` float32 in [0, 1].
    """
    random = np.random.default_rng(seed)
    things = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    combinations = [
        (a, relation, b) for a in things for relation in RELATIONS for b in things if a != b
    ]
    order = random.permutation(len(combinations))
    test, validation = len(order) // 10, len(order) // 20
    groups = order[test + validation :], order[test : test + validation], order[:test]
    parts = []
    for name, group, size in zip(
        ("train", "validation", "test"), groups, (count, count // 20, count // 10), strict=True
    ):
        chosen = random.choice(group, size)
        parts.append(
            [
                _scene(random, combinations[which], f"{name} scene {number}")
                for number, which in enumerate(chosen.tolist(), 1)
            ]
        )
    return parts[0], parts[1], parts[2]


def _scene(random: Any, combination: tuple[Any, str, Any], where: str) -> Example:
    first, relation, second = combination
    picture = 0.1 * random.random((SIZE, SIZE, 3))
    down, right = RELATIONS[relation]
    middle = SIZE / 2 + random.uniform(-2, 2, 2)
    apart = random.uniform(5.5, 6.5)
    aside = random.uniform(-1.5, 1.5)
    offset = np.array(
        [down * apart + (aside if right else 0), right * apart + (aside if down else 0)]
    )
    for (colour, shape), centre, radius in (
        (first, middle + offset, random.uniform(4.6, 5.4)),
        (second, middle - offset, random.uniform(2.8, 3.4)),
    ):
        mask = draw_shape(shape, SIZE, tuple(centre), radius)
        picture[mask] = np.clip(COLOURS[colour] + random.normal(0, 0.04, 3), 0, 1)
    text = f"a {' '.join(first)} {relation} a {' '.join(second)}"
    return Example(picture.astype(np.float32), text, where)


def clips(count: int = 3000, seed: int = 0) -> dict[str, Split]:
    """Clips of a shape that moves in one direction and then in another, with three targets.

    Returns:
      Under `"frames"` the motion in each frame, under `"action"` both motions as one class, under
      `"sentence"` a caption; each `(train, validation, test)` with inputs `(time, 16, 16, 1)`
      float32 of 8 to 12 frames.
    """
    random = np.random.default_rng(seed)
    found: dict[str, list[Example]] = {"frames": [], "action": [], "sentence": []}
    names = list(MOTIONS)
    for number in range(1, count + 1):
        shape = SHAPES[int(random.integers(len(SHAPES)))]
        first, second = (names[i] for i in random.permutation(len(names))[:2])
        time = int(random.integers(8, 13))
        turn = int(random.integers(3, time - 2))
        tags = (first,) * turn + (second,) * (time - turn)
        moves = np.array([MOTIONS[tag] for tag in tags[1:]], float)
        path = np.concatenate([[[0.0, 0.0]], np.cumsum(moves, 0)])
        path = path - (path.min(0) + path.max(0)) / 2 + FRAME / 2 + random.uniform(-0.5, 0.5, 2)
        radius = random.uniform(2.6, 3.2)
        frames = 0.1 * random.random((time, FRAME, FRAME))
        for frame, centre in zip(frames, path, strict=True):
            frame[draw_shape(shape, FRAME, tuple(centre), radius)] = random.uniform(0.8, 1.0)
        inputs = frames[..., None].astype(np.float32)
        where = f"clip {number}"
        found["frames"].append(Example(inputs, tags, where))
        found["action"].append(Example(inputs, f"{first}, {second}", where))
        sentence = f"a {shape} moves {first} and then {second}"
        found["sentence"].append(Example(inputs, sentence, where))
    part = count // 10
    return {
        name: (every[: -2 * part], every[-2 * part : -part], every[-part:])
        for name, every in found.items()
    }


def digit_strings(count: int = 6000, seed: int = 0) -> Split:
    """Strings of three to eight handwritten digits, read column by column.

    The images are those of `digits-rows`; those of the training, validation and test strings are
    disjoint, the last from its test split. Up to two empty columns separate digits.

    Returns:
      `(train, validation, test)`, inputs `(columns, 8)` float32 in [0, 1], targets such as
      `"4071"`.

    Raises:
      ImportError: if scikit-learn, which contains the images, is not installed.
    """
    random = np.random.default_rng(seed)
    train, test = load_classification("digits-rows")
    cut = len(train) // 10
    order = random.permutation(len(train)).tolist()
    parts = [[train[i] for i in order[cut:]], [train[i] for i in order[:cut]], test]
    sizes = (count, count // 12, count // 6)
    found = []
    for name, images, size in zip(("train", "validation", "test"), parts, sizes, strict=True):
        strings = []
        for number in range(1, size + 1):
            chosen = [images[i] for i in random.integers(len(images), size=random.integers(3, 9))]
            columns = []
            for image in chosen:
                columns += [image.inputs.T, np.zeros((int(random.integers(3)), 8), np.float32)]
            text = "".join(image.target for image in chosen)
            strings.append(Example(np.concatenate(columns), text, f"{name} string {number}"))
        found.append(strings)
    return found[0], found[1], found[2]
