"""Encoders and decoders: padding, teacher forcing, sampling, search, alignment."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.core.types import Array
from seqjax.losses import cross_entropy
from tests.nn.drawn import drawn

BEGIN, END = 2, 3
SOURCE = jnp.array([[4, 5, 6, 7, 8], [9, 4, 5, 0, 0]])
LENGTHS = jnp.array([5, 3])
TARGET = jnp.array([[4, 5, 6, 7], [5, 4, 0, 0]])
TARGETS = jnp.array([4, 2])

CELLS = {
    "additive": lambda width: sj.attentive(sj.gru(6), width),
    "feeding": lambda width: sj.attentive(
        sj.stack(sj.lstm(5), sj.lstm(6)), width, score="multiplicative", input_feeding=True
    ),
    "noise": lambda width: sj.dropout(sj.attentive(sj.lstm(6), width), 0.5),
    "none": lambda width: sj.lstm(6),
}
TIED = ("feeding", "none")


def build(cell, tied, rngs):
    embed = nnx.Embed(10, 4, rngs=rngs)
    encoder = sj.nn.RecurrentEncoder(sj.bidirectional(sj.gru(3)), 4, embedding=embed, rngs=rngs)
    cell = cell(encoder.features)
    features = encoder.summary_features
    decoder = sj.nn.Decoder(9, cell, features, embedding_size=4, tied=tied, rngs=rngs)
    return sj.nn.EncoderDecoder(encoder, decoder, begin=BEGIN, end=END)


@functools.cache
def built(name):
    return drawn(functools.partial(build, CELLS[name], name in TIED))


@jax.jit
def logits_of(model, source, target, lengths):
    return model(source, target, lengths=lengths)


@jax.jit
def everything(model, source, target, lengths):
    """What a model computes of one source, in a single program."""
    encoded = model.encoder(source, lengths=lengths)
    tokens = jnp.concatenate([jnp.full((2, 1), BEGIN), target], 1)
    step, carry = model.decoder.start(encoded)
    with_predictions = lambda flag: model.decoder(  # noqa: E731
        tokens, encoded, predicted=jnp.broadcast_to(flag, tokens.shape)
    )
    never, always = jax.vmap(with_predictions)(jnp.array([False, True]))
    return {
        "logits": model.decoder(tokens, encoded),
        "stepwise": jnp.moveaxis(jax.lax.scan(step, carry, tokens.T)[1], 0, 1),
        "never": never,
        "always": always,
        "written": model.write(source, lengths=lengths, max_length=6),
        "beams": model.search(source, lengths=lengths, max_length=6, beams=3),
        "greedy": model.search(source, lengths=lengths, max_length=6, beams=1),
    }


@pytest.fixture(scope="module", params=CELLS)
def computed(request):
    return everything(built(request.param), SOURCE, TARGET, LENGTHS)


@pytest.mark.parametrize("name", CELLS)
def test_padding_of_the_source_changes_nothing(name):
    model = built(name)
    logits = logits_of(model, SOURCE, TARGET, LENGTHS)
    other = logits_of(model, SOURCE.at[1, 3:].set(7), TARGET, LENGTHS)
    np.testing.assert_array_equal(logits, other)
    cut = logits_of(model, SOURCE[1:, :3], TARGET[1:], LENGTHS[1:])
    np.testing.assert_allclose(cut, logits[1:], rtol=1e-5, atol=1e-6)


def test_teacher_forcing_is_the_step_again_and_again(computed):
    np.testing.assert_allclose(computed["stepwise"], computed["logits"], rtol=1e-5, atol=1e-6)


def test_what_it_reads_when_it_reads_itself(computed):
    np.testing.assert_allclose(computed["never"], computed["logits"], rtol=1e-5, atol=1e-6)
    predicted, written = np.argmax(computed["always"], -1), computed["written"]
    for row in range(2):
        count = min(5, int(written.lengths[row]))
        np.testing.assert_array_equal(predicted[row, :count], written.tokens[row, :count])


def test_a_search_is_at_least_as_good_as_greedy_decoding(computed):
    found, greedy = computed["beams"], computed["greedy"]
    np.testing.assert_array_equal(greedy.tokens[:, 0], computed["written"].tokens)
    assert (found.scores[:, 0] >= greedy.scores[:, 0] - 1e-5).all()


def test_gradients_with_sampling_are_those_of_the_plain_path(x64):
    model = sj.cast(built("feeding"), jnp.float64)
    predicted = jnp.array([[False, True, False, True, True], [False, False, True, True, False]])
    tokens = jnp.concatenate([jnp.full((2, 1), BEGIN), TARGET], 1)

    def loss(model, method):
        encoded = model.encoder(SOURCE, lengths=LENGTHS)
        with pytest.MonkeyPatch.context() as patch:
            scan = lambda *args, **options: sj.scan(*args, **options, method=method)  # noqa: E731
            patch.setattr(model.decoder.rnn, "_scan", scan)
            return jnp.sin(model.decoder(tokens, encoded, predicted=predicted)).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    wanted, got = (gradient(model, method) for method in ("plain", "auto"))
    for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CELLS)
def test_alignment(name):
    model = built(name)
    if name == "none":
        with pytest.raises(ValueError, match="does not attend"):
            model.alignment(SOURCE, TARGET)
        return
    align = jax.jit(lambda model: model.alignment(SOURCE, TARGET, lengths=LENGTHS))
    weights = align(model)
    assert weights.shape == (2, 5, 5) and (weights[1, :, 3:] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_target_without_tokens_has_an_end(batch):
    model = built("additive")
    source, target = jnp.ones((*batch, 5), int), jnp.zeros((*batch, 0), int)

    @jax.jit
    def run(model):
        logits = model(source, target)
        weights = model.alignment(source, target)
        return logits, weights, *model.loss(logits, target, jnp.zeros(batch, int))

    logits, weights, nats, count = run(model)
    assert weights.shape == (*batch, 1, 5)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert logits.shape == (*batch, 1, 9) and count == math.prod(batch)
    np.testing.assert_allclose(nats, -jax.nn.log_softmax(logits)[..., END].sum(), rtol=1e-5)


def test_nothing_is_written_for_inactive_sequences():
    options = {"lengths": LENGTHS, "max_length": 6}

    @jax.jit
    def run(model, active):
        return [way(SOURCE, active=active, **options) for way in (model.write, model.search)]

    model = built("additive")
    some, every = (run(model, jnp.array([first, True])) for first in (False, True))
    for found, wanted in zip(some, every, strict=True):
        assert not found.lengths[0].any() and (found.tokens[0] == END).all()
        np.testing.assert_array_equal(found.tokens[1], wanted.tokens[1])
        assert wanted.lengths[0].any()


def test_noise_is_on_with_a_key_only():
    model = built("noise")
    quiet = logits_of(model, SOURCE, TARGET, LENGTHS)
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def loud_logits(model, source, target, lengths, keys):
        return model(source, target, lengths=lengths, key=keys)

    loud = loud_logits(model, SOURCE, TARGET, LENGTHS, keys)
    assert (loud != quiet).any()
    # The noise of a sequence does not depend on what else is in the batch.
    alone = loud_logits(model, SOURCE[1:], TARGET[1:], LENGTHS[1:], keys[1:])
    np.testing.assert_allclose(alone, loud[1:], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="sampling needs a key"):
        model(SOURCE, TARGET, scheduled_sampling=0.5)
    keys = jax.random.split(jax.random.key(0, impl="unsafe_rbg"), 2)
    sampled = jax.jit(
        lambda source, target, keys: model(source, target, key=keys, scheduled_sampling=0.5)
    )
    both, alone = sampled(SOURCE, TARGET, keys), sampled(SOURCE[1:], TARGET[1:], keys[1:])
    np.testing.assert_allclose(alone, both[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_every_token_and_of_the_end(smoothing):
    model = built("additive")
    logits = logits_of(model, SOURCE, TARGET, LENGTHS)
    nats, count = model.loss(logits, TARGET, TARGETS, label_smoothing=smoothing)
    assert count == 4 + 1 + 2 + 1
    wanted = 0.0
    for row, tokens in enumerate(([4, 5, 6, 7, END], [5, 4, END])):
        known = np.asarray(jax.nn.log_softmax(logits[row], -1))
        for t, token in enumerate(tokens):
            wanted -= (1 - smoothing) * known[t, token] + smoothing * known[t].mean()
    np.testing.assert_allclose(nats, wanted, rtol=1e-5)
    one, fewer = model.loss(logits, TARGET, TARGETS, mask=jnp.array([True, False]))
    assert fewer == 5 and one < cross_entropy(logits, jnp.zeros((2, 5), int))


def test_a_tied_head_is_the_embedding():
    model = built("none")
    shapes = {leaf.shape for leaf in jax.tree.leaves(model.decoder)}
    assert (9, 4) in shapes and (4, 9) not in shapes and (6, 9) not in shapes


def test_the_encoder_of_pictures_knows_where_things_are():
    encoder = drawn(lambda rngs: sj.nn.ImageEncoder((8, 12, 3), (4, 5), rngs=rngs))
    images = np.zeros((2, 3, 8, 12, 3), np.float32)
    images[..., 2, 3, :] = 1.0
    found = jax.jit(lambda encoder, images: encoder(images))(encoder, images)
    assert found.values.shape == (2, 3, 6, 5) and found.summary.shape == (2, 3, 128)
    assert not np.allclose(found.values[0, 0, 4], found.values[0, 0, 5])


SCALED = {
    "slstm": lambda width: sj.slstm(4, recurrent_init=sj.initializers.Orthogonal()),
    "slstm_attentive": lambda width: sj.attentive(sj.slstm(4), width, input_feeding=True),
    "slstm_linear": lambda width: sj.attentive(sj.slstm(4, recurrent=False), width),
    "rwkv4_time_mix": lambda width: sj.attentive(sj.rwkv4_time_mix(4), width),
    "minimal_gru": lambda width: sj.attentive(sj.minimal_gru(4, logarithmic=True), width),
    "mlstm": lambda width: sj.attentive(sj.mlstm(4, heads=2), width),
    "stacked": lambda width: sj.stack(
        sj.gru(4), sj.residual(sj.rwkv4_time_mix(4)), sj.mlstm(4, heads=2)
    ),
}


@pytest.mark.parametrize("name", SCALED)
def test_a_first_carry_leaves_scales_and_normalisers_alone(name):
    model = drawn(functools.partial(build, SCALED[name], False))
    kept = lambda node: isinstance(node, (sj.LogScaled, sj.MatrixState))  # noqa: E731

    @jax.jit
    def run(model, source):
        def loss(model):
            return jnp.square(model(source, TARGET, lengths=LENGTHS)).sum()

        carry = model.decoder.start(model.encoder(source))[1]
        return *jax.value_and_grad(loss)(model), jax.tree.leaves(carry, is_leaf=kept)

    value, gradient, first = run(model, SOURCE)
    other, _, second = run(model, SOURCE.at[:, 0].set(9))
    for one, two in zip(first, second, strict=True):
        if kept(one):
            jax.tree.map(np.testing.assert_array_equal, one, two)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert any(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient.encoder))
    assert abs(other - value) > 1e-6


class Averaged(NamedTuple):
    """A weighted mean of the inputs so far, which is `total / weight`."""

    hidden: Array
    total: Array
    weight: Array

    settable = ("hidden",)


def averaging(settable=Averaged.settable):
    """A cell that users may write: the output is normalized by a field of its state."""
    state = type("Averaged", (Averaged,), {"settable": settable})

    def step(params, carry, x):
        total, weight = carry.total + x, carry.weight + 1
        hidden = 0.5 * carry.hidden + total / weight
        return state(hidden, total, weight), hidden

    def initial_carry(params, batch_shape=()):
        return state(*(jnp.zeros((*batch_shape, 4)) for _ in range(3)))

    return sj.Cell(lambda key, features: {}, initial_carry, step, features=4)


def test_a_state_says_which_of_its_fields_may_be_set():
    cell = sj.residual(averaging())
    decoder = drawn(lambda rngs: sj.nn.Decoder(9, cell, 3, embedding_size=4, rngs=rngs))
    _, carry = decoder.start(sj.nn.VectorEncoder(3)(jnp.ones((2, 3))))
    (carry,) = jax.tree.leaves(carry, is_leaf=lambda node: isinstance(node, Averaged))
    assert decoder.bridge.out_features == 4 and carry.hidden.all()
    assert not carry.total.any() and not carry.weight.any()


def test_a_state_that_names_a_field_it_has_not():
    with pytest.raises(ValueError, match="must name fields of the state, hidden, .* got memory"):
        sj.nn.Decoder(9, averaging(("memory",)), 3, embedding_size=4, rngs=nnx.Rngs(0))


def test_of_an_slstm_only_the_hidden_state_is_set():
    cell = sj.slstm(4)
    decoder = drawn(lambda rngs: sj.nn.Decoder(9, cell, 3, embedding_size=2, rngs=rngs))
    encoded = sj.nn.VectorEncoder(3)(jnp.ones((2, 3)))
    _, carry = decoder.start(encoded)
    assert decoder.bridge.out_features == 4 and carry.hidden.all()
    assert not carry.cell.any() and not carry.normalizer.any() and not carry.maximum.any()


@pytest.mark.parametrize(
    "cell",
    [
        sj.delta_net(4, heads=2),
        sj.mlstm(4, heads=2),
        sj.rwkv4_time_mix(4),
        sj.slstm(4, recurrent=False),
        sj.mamba(4),
    ],
)
def test_a_decoder_that_the_encoder_cannot_reach(cell):
    with pytest.raises(ValueError, match="nothing of the encoder would reach .* sj.attentive"):
        sj.nn.Decoder(9, cell, 3, embedding_size=4, rngs=nnx.Rngs(0))


def test_a_decoder_needs_a_cell_that_steps():
    with pytest.raises(TypeError, match="has no step"):
        sj.nn.Decoder(9, sj.bidirectional(sj.gru(2)), 3, embedding_size=2, rngs=nnx.Rngs(0))
