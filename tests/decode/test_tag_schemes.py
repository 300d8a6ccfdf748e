"""Which tag may follow which, against a reading of whole sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.decode import crf
from seqjax.decode.crf import Transitions, forbid
from seqjax.decode.tag_schemes import allowed_transitions

crf_score, viterbi = jax.jit(crf.crf_score), jax.jit(crf.viterbi)

KINDS = ("PER", "GPE-LOC")
TAGS = {
    scheme: ["O", *(f"{letter}-{kind}" for letter in letters for kind in KINDS)]
    for scheme, letters in (("BIO", "BI"), ("BIOES", "BIES"))
}


def lawful(sequence, scheme):
    """Eats one span after the other, as a reader would."""
    rest = list(sequence)
    while rest:
        position, _, kind = rest.pop(0).partition("-")
        if position in "IE":
            return False
        if position != "B":
            continue
        while rest and rest[0] == f"I-{kind}":
            rest.pop(0)
        if scheme == "BIOES" and (not rest or rest.pop(0) != f"E-{kind}"):
            return False
    return True


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_lawful_sequences_are_the_allowed_ones(scheme):
    tags = TAGS[scheme]
    allowed = allowed_transitions(tags, scheme)
    zeros = Transitions(*(jnp.asarray(np.zeros(flags.shape, np.float32)) for flags in allowed))
    every = list(itertools.product(range(len(tags)), repeat=3))
    emissions = np.zeros((len(every), 3, len(tags)), np.float32)
    scores = crf_score(emissions, forbid(zeros, allowed), jnp.array(every))
    wanted = [lawful([tags[i] for i in path], scheme) for path in every]
    np.testing.assert_array_equal(np.isfinite(scores), wanted)
    assert any(wanted) and not all(wanted)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_viterbi_writes_lawful_sequences_only(scheme):
    tags = TAGS[scheme]
    generator = np.random.default_rng(0)
    allowed = allowed_transitions(tags, scheme)
    drawn = [5 * generator.normal(size=x.shape).astype(np.float32) for x in allowed]
    drawn = Transitions(*map(jnp.asarray, drawn))
    emissions = 100 * generator.normal(size=(200, 12, len(tags))).astype(np.float32)
    mask = generator.random((200, 12)) < 0.8
    best, score = viterbi(emissions, forbid(drawn, allowed), mask)
    assert np.isfinite(score).all()
    for row, valid in zip(np.asarray(best), np.asarray(mask), strict=True):
        assert lawful([tags[i] for i in row[valid]], scheme)
    # Without the bars it does not: the test could fail.
    free, _ = viterbi(emissions, drawn, mask)
    assert not all(lawful([tags[i] for i in row], scheme) for row in np.asarray(free))


def test_without_a_scheme_everything_is_allowed():
    assert all(flags.all() for flags in allowed_transitions(["NOUN", "<pad>"], None))


@pytest.mark.parametrize(
    ("tag", "scheme"),
    [
        ("NOUN", "BIO"), ("E-PER", "BIO"), ("O-PER", "BIO"), ("B-", "BIO"), ("B", "BIOES"),
        ("b-PER", "BIOES"), ("", "BIO"), ("BI-PER", "BIO"), ("-PER", "BIOES"),
    ],
)  # fmt: skip
def test_tags_that_do_not_fit(tag, scheme):
    with pytest.raises(InputError, match=f"{tag!r} does not fit the scheme {scheme}"):
        allowed_transitions(["O", tag], scheme)


def test_no_tags():
    with pytest.raises(InputError, match="no tags"):
        allowed_transitions([], "BIO")


def test_no_such_scheme():
    with pytest.raises(ValueError, match="BIOES"):
        allowed_transitions(["O"], "IOB1")
