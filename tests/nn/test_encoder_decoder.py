"""Encoders and decoders: padding, teacher forcing, sampling, search, alignment."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.losses import cross_entropy

BEGIN, END = 2, 3
SOURCE = jnp.array([[4, 5, 6, 7, 8], [9, 4, 5, 0, 0]])
LENGTHS = jnp.array([5, 3])
TARGET = jnp.array([[4, 5, 6, 7], [5, 4, 0, 0]])
TARGETS = jnp.array([4, 2])

CELLS = {
    "additive": lambda width: sj.attentive(sj.gru(6), width),
    "feeding": lambda width: sj.attentive(
        sj.stack(sj.lstm(5), sj.lstm(6)), width, score="multiplicative", feeding=True
    ),
    "noise": lambda width: sj.dropout(sj.attentive(sj.lstm(6), width), 0.5),
    "none": lambda width: sj.lstm(6),
}


def built(name, tied=False, seed=0):
    rngs = nnx.Rngs(seed)
    embed = nnx.Embed(10, 4, rngs=rngs)
    encoder = sj.nn.RecurrentEncoder(sj.bidirectional(sj.gru(3)), 4, embedding=embed, rngs=rngs)
    decoder = sj.nn.Decoder(
        9,
        CELLS[name](encoder.features),
        encoder.summary_features,
        embedding_size=4,
        tied=tied,
        rngs=rngs,
    )
    return sj.nn.EncoderDecoder(encoder, decoder, begin=BEGIN, end=END)


@pytest.mark.parametrize("name", CELLS)
def test_padding_of_the_source_changes_nothing(name):
    model = built(name)
    logits = model(SOURCE, TARGET, lengths=LENGTHS)
    other = model(SOURCE.at[1, 3:].set(7), TARGET, lengths=LENGTHS)
    np.testing.assert_array_equal(logits, other)
    cut = model(SOURCE[1:, :3], TARGET[1:], lengths=LENGTHS[1:])
    np.testing.assert_allclose(cut, logits[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_teacher_forcing_is_the_step_again_and_again(name):
    model = built(name, tied=True)
    logits = model(SOURCE, TARGET, lengths=LENGTHS)
    step, carry = model.decoder.start(model.encoder(SOURCE, lengths=LENGTHS))
    token = jnp.full(2, BEGIN)
    for t in range(5):
        carry, one = step(carry, token)
        np.testing.assert_allclose(one, logits[:, t], rtol=1e-5, atol=1e-6)
        token = TARGET[:, min(t, 3)]


@pytest.mark.parametrize("name", CELLS)
def test_what_it_reads_when_it_reads_itself(name):
    model = built(name)
    encoded = model.encoder(SOURCE, lengths=LENGTHS)
    tokens = jnp.concatenate([jnp.full((2, 1), BEGIN), TARGET], 1)
    never = model.decoder(tokens, encoded, predicted=jnp.zeros((2, 5), bool))
    np.testing.assert_allclose(never, model.decoder(tokens, encoded), rtol=1e-5, atol=1e-6)
    always = model.decoder(tokens, encoded, predicted=jnp.ones((2, 5), bool))
    written = model.write(SOURCE, lengths=LENGTHS, max_length=5)
    said = jnp.argmax(always, -1)
    for row in range(2):
        count = int(written.lengths[row])
        np.testing.assert_array_equal(said[row, :count], written.tokens[row, :count])


def test_gradients_with_sampling_are_those_of_the_plain_path(x64):
    model = sj.cast(built("feeding"), jnp.float64)
    predicted = jnp.array([[False, True, False, True, True], [False, False, True, True, False]])
    tokens = jnp.concatenate([jnp.full((2, 1), BEGIN), TARGET], 1)

    def loss(model, method):
        encoded = model.encoder(SOURCE, lengths=LENGTHS)
        with pytest.MonkeyPatch.context() as patch:
            scan = lambda *args, **options: sj.scan(*args, **options, method=method)  # noqa: E731
            patch.setattr(model.decoder.rnn, "scan", scan)
            return jnp.sin(model.decoder(tokens, encoded, predicted=predicted)).sum()

    wanted, got = (jax.grad(lambda m, way=way: loss(m, way))(model) for way in ("plain", "auto"))
    for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CELLS)
def test_search_and_alignment(name):
    model = built(name, seed=1)
    found = model.search(SOURCE, lengths=LENGTHS, max_length=6, beams=3)
    one = model.search(SOURCE, lengths=LENGTHS, max_length=6, beams=1)
    written = model.write(SOURCE, lengths=LENGTHS, max_length=6)
    np.testing.assert_array_equal(one.tokens[:, 0], written.tokens)
    assert (found.scores[:, 0] >= one.scores[:, 0] - 1e-5).all()
    if name == "none":
        with pytest.raises(ValueError, match="does not attend"):
            model.alignment(SOURCE, TARGET)
        return
    weights = model.alignment(SOURCE, TARGET, lengths=LENGTHS)
    assert weights.shape == (2, 5, 5) and (weights[1, :, 3:] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_target_without_tokens_has_an_end(batch):
    model = built("additive")
    source, target = jnp.ones((*batch, 5), int), jnp.zeros((*batch, 0), int)
    weights = model.alignment(source, target)
    assert weights.shape == (*batch, 1, 5)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    logits = model(source, target)
    nats, count = model.loss(logits, target, jnp.zeros(batch, int))
    assert logits.shape == (*batch, 1, 9) and count == math.prod(batch)
    np.testing.assert_allclose(nats, -jax.nn.log_softmax(logits)[..., END].sum(), rtol=1e-5)


def test_nothing_is_written_for_rows_that_are_not_wanted():
    model = built("additive", seed=1)
    options = {"lengths": LENGTHS, "max_length": 6}
    rows = jnp.array([False, True])
    for way in (model.write, model.search):
        found, every = way(SOURCE, active=rows, **options), way(SOURCE, **options)
        assert not found.lengths[0].any() and (found.tokens[0] == END).all()
        np.testing.assert_array_equal(found.tokens[1], every.tokens[1])


def test_noise_is_on_with_a_key_only():
    model = built("noise")
    quiet = model(SOURCE, TARGET, lengths=LENGTHS)
    np.testing.assert_array_equal(quiet, model(SOURCE, TARGET, lengths=LENGTHS))
    keys = jax.random.split(jax.random.key(0), 2)
    loud = model(SOURCE, TARGET, lengths=LENGTHS, key=keys)
    assert (loud != quiet).any()
    # A row's noise does not depend on what else is in the batch.
    alone = model(SOURCE[1:], TARGET[1:], lengths=LENGTHS[1:], key=keys[1:])
    np.testing.assert_allclose(alone, loud[1:], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="sampling needs a key"):
        model(SOURCE, TARGET, scheduled_sampling=0.5)
    assert np.isfinite(model(SOURCE, TARGET, key=keys, scheduled_sampling=0.5)).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_every_token_and_of_the_end(smoothing):
    model = built("additive")
    logits = model(SOURCE, TARGET, lengths=LENGTHS, target_lengths=TARGETS)
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
    model = built("additive", tied=True)
    shapes = {leaf.shape for leaf in jax.tree.leaves(model.decoder)}
    assert (9, 4) in shapes and (4, 9) not in shapes and (6, 9) not in shapes


def test_the_encoder_of_pictures_knows_where_things_are():
    encoder = sj.nn.ImageEncoder((8, 12, 3), (4, 5), rngs=nnx.Rngs(0))
    images = jnp.zeros((2, 3, 8, 12, 3)).at[..., 2, 3, :].set(1.0)
    found = encoder(images)
    assert found.values.shape == (2, 3, 6, 5) and found.summary.shape == (2, 3, 128)
    assert not np.allclose(found.values[0, 0, 4], found.values[0, 0, 5])


SCALED = {
    "slstm": lambda width: sj.slstm(4, recurrent_init=sj.initializers.Orthogonal()),
    "slstm_attentive": lambda width: sj.attentive(sj.slstm(4), width, feeding=True),
    "slstm_linear": lambda width: sj.attentive(sj.slstm(4, recurrent=False), width),
    "rwkv4_time_mix": lambda width: sj.attentive(sj.rwkv4_time_mix(4), width),
    "minimal_gru": lambda width: sj.attentive(sj.minimal_gru(4, logarithmic=True), width),
    "mlstm": lambda width: sj.attentive(sj.mlstm(4, heads=2), width),
    "stacked": lambda width: sj.stack(
        sj.gru(4), sj.residual(sj.rwkv4_time_mix(4)), sj.mlstm(4, heads=2)
    ),
}


@pytest.mark.parametrize("name", SCALED)
def test_a_first_carry_leaves_scales_and_normalisers_alone(name, monkeypatch):
    monkeypatch.setitem(CELLS, name, SCALED[name])
    model = built(name)
    other = SOURCE.at[:, 0].set(9)
    kept = lambda node: isinstance(node, (sj.LogScaled, sj.MatrixState))  # noqa: E731
    first, second = (
        jax.tree.leaves(model.decoder.start(model.encoder(source))[1], is_leaf=kept)
        for source in (SOURCE, other)
    )
    for one, two in zip(first, second, strict=True):
        if kept(one):
            jax.tree.map(np.testing.assert_array_equal, one, two)

    def loss(model, source):
        return jnp.square(model(source, TARGET, lengths=LENGTHS)).sum()

    value, gradient = nnx.value_and_grad(loss)(model, SOURCE)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert any(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient.encoder))
    assert abs(loss(model, other) - value) > 1e-6


def test_of_an_slstm_only_the_hidden_state_is_set():
    cell = sj.slstm(4)
    decoder = sj.nn.Decoder(9, cell, 3, embedding_size=2, rngs=nnx.Rngs(0))
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
