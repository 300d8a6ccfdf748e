"""What a data set holds: lengths, missing values, targets, and what looks odd."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from seqjax.data.examples import Example
from seqjax.data.formats.description import listed

REMEMBERED = 200_000
"""Number of examples that are compared, and of different targets that are counted, at most."""

SENTINELS = (-99, -999, -9999, -99999, -999999, -99.9, -999.9, -32768, 999, 9999, 99999, 999999)
"""Numbers by which instruments and weather services say that a value is missing."""

SHOWN = 8
"""Number of labels that are listed."""

SAMPLE = 40
"""At most this many characters of a text are shown."""


class Survey:
    """Counts examples as they go by, in bounded memory.

    Example:
      >>> from seqjax.data.examples import Example
      >>> from seqjax.data.survey import Survey
      >>> survey = Survey()
      >>> for example in (Example("fine", "good"), Example("poor", "bad"), Example("fine", "bad")):
      ...     survey.add(example)
      >>> survey.lines()
      ['examples    3: 4 characters', "labels      'bad' 2, 'good' 1"]
      >>> list(survey.odd())
      ["1 of 3 inputs stand there more than once, 1 with another target: 'fine'"]
    """

    def __init__(self):
        self.count = 0
        self.unit = ""
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.lengths: list[int] = []
        self.labels: Counter[str] = Counter()
        self.numbers: list[float] = []
        self.unlabelled = self.repeated = self.contradicted = 0
        self.missing = self.values = 0
        self.sentinels: Counter[float] = Counter()
        self._ranges: dict[str, np.ndarray] = {}
        self._seen: dict[bytes, Any] = {}
        self._repeated_sample = ""

    def add(self, example: Example) -> None:
        """Counts an example."""
        self.count += 1
        self._add_target(example.target)
        about = example.stored and example.stored.about
        if about:
            self._add_shape(about.shape, about.length)
            self._compare(about.digest.encode(), repr(example.target), example.where)
            return
        inputs = example.inputs
        self._add_inputs(inputs)
        content = inputs.tobytes() if isinstance(inputs, np.ndarray) else repr(inputs).encode()
        sample = _short(inputs) if isinstance(inputs, str) else example.where
        key = hashlib.blake2b(content, digest_size=12).digest()
        self._compare(key, repr(example.target), sample)

    def add_document(self, pieces: Iterable[str]) -> None:
        """Counts a text without a target, which comes in pieces and need not fit into memory."""
        self.count += 1
        self._add_target(None)
        found, length, start = hashlib.blake2b(digest_size=12), 0, ""
        for piece in pieces:
            found.update(piece.encode(errors="surrogatepass"))
            length += len(piece)
            start += piece[: SAMPLE + 1 - len(start)]
        self.unit = "characters"
        self.lengths.append(length)
        self._compare(found.digest(), repr(None), _short(start))

    def _compare(self, key: bytes, target: str, sample: str) -> None:
        if key in self._seen:
            self.repeated += 1
            other = target != self._seen[key]
            self.contradicted += other
            if other or not self._repeated_sample:
                self._repeated_sample = sample
        elif len(self._seen) < REMEMBERED:
            self._seen[key] = target

    def _add_inputs(self, inputs: Any) -> None:
        if isinstance(inputs, np.ndarray):
            self._add_shape(inputs.shape, len(inputs))
            if inputs.ndim not in (1, 3):
                self._add_values(inputs.reshape(-1, inputs.shape[-1]))
            return
        self.unit = "characters" if isinstance(inputs, str) else "tokens"
        self.lengths.append(len(inputs))

    def _add_shape(self, shape: tuple[int, ...] | None, length: int) -> None:
        if shape is None:
            self.unit = "characters"
            self.lengths.append(length)
            return
        if len(shape) in (1, 3):
            self.unit = "numbers"
            self.shapes[shape] += 1
            return
        self.unit = "steps" if len(shape) == 2 else "frames"
        self.shapes[shape[1:]] += 1
        self.lengths.append(length)

    def _add_values(self, values: np.ndarray) -> None:
        known = ~np.isnan(values)
        self.values += known.size
        self.missing += int((~known).sum())
        sentinel = np.isin(values, [*SENTINELS, *np.asarray(SENTINELS, np.float32)])
        for value, count in zip(*np.unique(values[sentinel], return_counts=True), strict=True):
            self.sentinels[float(value)] += int(count)
        self._ranges["all"] = _widened(self._ranges.get("all"), values, known)
        self._ranges["usual"] = _widened(self._ranges.get("usual"), values, known & ~sentinel)

    def _add_target(self, target: Any) -> None:
        if target is None:
            self.unlabelled += 1
        elif isinstance(target, (int, float)):
            self.numbers.append(float(target))
        elif isinstance(target, np.ndarray):
            self.numbers += target.ravel().tolist()
        else:
            for name in (target,) if isinstance(target, str) else target:
                if name in self.labels or len(self.labels) < REMEMBERED:
                    self.labels[name] += 1

    def lines(self) -> list[str]:
        """Lengths, targets and missing values, each in a line."""
        found = [f"{'examples':11} {self.count:,}{self._sizes()}"]
        if self.labels:
            rest = len(self.labels) - SHOWN
            most = self.labels.most_common(SHOWN)
            names = ", ".join(f"{_short(name)} {count:,}" for name, count in most)
            found.append(f"{'labels':11} {names}" + (f" and {rest:,} more" if rest > 0 else ""))
        if self.numbers:
            low, high, mean = min(self.numbers), max(self.numbers), np.mean(self.numbers)
            found.append(f"{'numbers':11} {low:.6g} to {high:.6g}, mean {mean:.6g}")
        if self.missing:
            share = 100 * self.missing / self.values
            found.append(f"{'missing':11} {share:.2g} % of the values")
        return found

    def _sizes(self) -> str:
        each = ""
        if self.shapes:
            shape = " x ".join(map(str, self.shapes.most_common(1)[0][0]))
            each = f" of {shape}" if self.unit != "steps" else f" of {shape} channels"
            each = each.replace(" 1 channels", " 1 channel")
        if not self.lengths:
            return f": {self.unit}{each}" if self.count else ""
        low, high = min(self.lengths), max(self.lengths)
        span = f"{low:,} to {high:,}" if low < high else f"{low:,}"
        median = f", median {int(np.median(self.lengths)):,}" if low < high else ""
        return f": {span} {self.unit}{each}{median}"

    def odd(self) -> Iterator[str]:
        """What may be a mistake, a line each."""
        if self.unlabelled and self.unlabelled < self.count:
            yield f"{self.unlabelled:,} of {self.count:,} examples have no target"
        if self.repeated:
            others = f", {self.contradicted:,} with another target" if self.contradicted else ""
            yield (
                f"{self.repeated:,} of {self.count:,} inputs stand there more than once{others}: "
                f"{self._repeated_sample}"
            )
        if len(self.shapes) > 1:
            shapes = ", ".join(
                f"{' x '.join(map(str, shape))} ({count:,})"
                for shape, count in self.shapes.most_common(SHOWN)
            )
            yield f"shapes differ: {shapes}"
        if self.lengths and max(self.lengths) > 20 * max(1, np.median(self.lengths)):
            yield (
                f"the longest has {max(self.lengths):,} {self.unit}, the median "
                f"{int(np.median(self.lengths)):,}: --max-length truncates"
            )
        yield from self._odd_values()
        yield from self._odd_labels()

    def _odd_values(self) -> Iterator[str]:
        if not self._ranges:
            return
        low, high = self._ranges["all"]
        flat = np.flatnonzero(~(low < high)).tolist()
        if flat and len(flat) < len(low):
            yield f"never vary: channels {', '.join(str(place + 1) for place in flat[:12])}"
        usual_low, usual_high = self._ranges["usual"]
        for value, count in self.sentinels.items():
            # Where a channel holds it, it is far from all others of that channel.
            far = np.maximum(usual_low - value, value - usual_high) > usual_high - usual_low
            held = (low <= value) & (value <= high) & np.isfinite(usual_low)
            if (far & held).any() and not (held & ~far & (usual_low < usual_high)).any():
                are = "value is" if count == 1 else "values are"
                yield (
                    f"{count:,} {are} {value:g}, far from all others: --missing {value:g}, if "
                    "it means that there is none"
                )

    def _odd_labels(self) -> Iterator[str]:
        if not self.labels:
            return
        by_form: dict[str, list[str]] = {}
        for name in self.labels:
            by_form.setdefault(" ".join(name.lower().split()), []).append(name)
        for names in [names for names in by_form.values() if len(names) > 1][:3]:
            yield f"labels that differ in case or spaces alone: {listed(names)}"
        total, (name, count) = self.labels.total(), self.labels.most_common(1)[0]
        if len(self.labels) > 1 and count > 0.95 * total:
            yield f"{_short(name)} is {100 * count / total:.0f} % of all labels"
        if len(self.labels) > 50 and 2 * len(self.labels) > total and _are_numbers(self.labels):
            yield f"{len(self.labels):,} different labels are numbers: --target number learns those"


def _widened(before: np.ndarray | None, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The lowest and the highest value of each channel, `(2, channels)`."""
    low = np.where(counts, values, np.inf).min(0)
    high = np.where(counts, values, -np.inf).max(0)
    if before is None or before.shape[1] != len(low):
        return np.stack([low, high]) if before is None else before
    return np.stack([np.minimum(before[0], low), np.maximum(before[1], high)])


def _are_numbers(names: Iterable[str]) -> bool:
    try:
        return all(np.isfinite(float(name)) for name in names)
    except ValueError:
        return False


def _short(text: str) -> str:
    return repr(text if len(text) <= SAMPLE else text[: SAMPLE - 3] + "...")
