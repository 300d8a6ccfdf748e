"""Which part of some texts is held out for validation."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from seqjax.data.documents import Document

NamedPieces = Iterable[tuple[str, Iterable[str]]]
"""Documents one after the other, each as its name and the pieces of its text."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A split of documents, which need not fit into memory, into training and validation.

    Of three documents or more, whole ones, evenly spaced over the list, are held out; of fewer, the
    end of each.

    Args:
      documents: how many there are.
      fraction: share to hold out, of the documents or of the characters, above 0; 1 for all.
      lengths: characters of each, of fewer than three documents.
    """

    documents: int
    fraction: float
    lengths: tuple[int, ...] = ()

    @classmethod
    def plan(cls, read: Callable[[], NamedPieces], fraction: float) -> "HeldOut":
        """The split of what `read` gives; texts are looked into if there are fewer than three."""
        count = sum(1 for _ in read())
        if count >= 3 or fraction == 1:
            return cls(count, fraction)
        return cls(count, fraction, tuple(sum(map(len, pieces)) for _, pieces in read()))

    def parts(self, documents: NamedPieces) -> Iterator[tuple[bool, str, Iterable[str]]]:
        """`(held_out, name, pieces)` of each part of each document, in their order.

        The pieces of a part must be read before the next part is asked for.
        """
        if not self.lengths:
            chosen = self._chosen()
            following = next(chosen, None)
            for index, (name, pieces) in enumerate(documents):
                held_out = index == following
                following = next(chosen, None) if held_out else following
                yield held_out, name, pieces
            return
        for (name, pieces), length in zip(documents, self.lengths, strict=True):
            before, after = _cut(pieces, max(1, int(length * (1 - self.fraction))))
            yield False, name, before
            first = next(after, None)
            if first is not None:
                yield True, f"{name} (end)", itertools.chain([first], after)

    def _chosen(self) -> Iterator[int]:
        """The held-out documents by their number, of at least three."""
        if self.fraction == 1:
            return iter(range(self.documents))
        count = min(self.documents - 1, max(1, round(self.documents * self.fraction)))
        return ((2 * i + 1) * self.documents // (2 * count) for i in range(count))


def _cut(pieces: Iterable[str], cut: int) -> tuple[Iterator[str], Iterator[str]]:
    """The pieces of the first `cut` characters, and those after them, to be read in this order."""
    rest, left_over = iter(pieces), []

    def before() -> Iterator[str]:
        left = cut
        for piece in rest:
            yield piece[:left]
            if len(piece) >= left:
                left_over.extend([piece[left:]] if piece[left:] else [])
                return
            left -= len(piece)

    def after() -> Iterator[str]:
        yield from left_over
        yield from rest

    return before(), after()


def split_documents(
    documents: Sequence[Document], fraction: float
) -> tuple[list[Document], list[Document]]:
    """Training documents and held-out documents, at least one of each; see `HeldOut`.

    Args:
      documents: at least one.
      fraction: share to hold out, of the documents or of the characters, between 0 and 1.

    Returns:
      `(train, held_out)`.
    """

    def read() -> NamedPieces:
        return ((name, [text]) for name, text in documents)

    parts: tuple[list[Document], list[Document]] = ([], [])
    for held_out, name, pieces in HeldOut.plan(read, fraction).parts(read()):
        parts[held_out].append(Document(name, "".join(pieces)))
    return parts
