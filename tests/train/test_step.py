"""The update: truncated BPTT on streams, one program, the same on any number of devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.data.documents import Document
from seqjax.data.streams import window
from seqjax.data.tokenizer import corpus_of
from seqjax.data.vocabulary import BOUNDARY, Vocabulary
from seqjax.losses import cross_entropy
from seqjax.train.config import OptimizerConfig
from seqjax.train.devices import AXIS, make_mesh
from seqjax.train.model import build_optimizer
from seqjax.train.recipe import LanguageModelConfig, Recipe, build_model
from seqjax.train.step import make_train_step, place, start
from seqjax.train.tasks import lm
from seqjax.train.text_evaluator import Evaluator
from seqjax.train.texts import TextConfig, Texts

DOCUMENTS = [Document(str(i), f"document {i} is about {'abcdefgh'[i] * 40}. ") for i in range(8)]
VOCABULARY = Vocabulary.of(text for _, text in DOCUMENTS)
CORPUS = corpus_of(VOCABULARY, DOCUMENTS)
STREAMS, TIME = 4, 16


@pytest.fixture
def prepare(monkeypatch):
    texts = Texts("documents", DOCUMENTS, DOCUMENTS)
    monkeypatch.setattr(lm, "find_texts", lambda config, log: texts)

    def prepare(devices=2, optimizer=None, **model):
        mesh = make_mesh(STREAMS, devices)
        config = lm.LanguageConfig(
            model=LanguageModelConfig(
                **({"cell": "gru", "features": 8, "embedding": 4, "dropout": 0.0} | model)
            ),
            data=TextConfig(time=TIME),
            batch=STREAMS,
        )
        task = lm.LanguageTask(config, print)
        optimizer = optimizer or build_optimizer(OptimizerConfig(), 100)
        state = start(task, optimizer, seed=0, dtype="float32", mesh=mesh)
        step = make_train_step(task, optimizer, mesh, seed=0, dtype="float32")
        return step, state, next(task.batches(0, mesh))

    return prepare


def test_one_program_and_no_transfers(prepare, caplog):
    step, state, corpus = prepare(dropout=0.2, layers=2)
    with jax.log_compiles():
        state, _ = step(state, corpus)
        assert "Compiling jit(step)" in caplog.text
        caplog.clear()
        with jax.transfer_guard("disallow"):
            for _ in range(6):
                state, metrics = step(state, corpus)
    assert not caplog.records
    assert np.isfinite(metrics.loss) and int(state.step) == 7


def one_array_for_all(features):
    """A cell of a user whose parameters, and whose states, are one array with two names."""

    def init(key, in_features):
        one = jnp.ones(())
        return {"gain": one, "bias": one}

    def initial_carry(params, batch_shape=()):
        zeros = jnp.zeros((*batch_shape, features))
        return sj.Complex(zeros, zeros)

    def step(params, carry, x):
        new = sj.Complex(0.5 * carry.imaginary + x * params["gain"], carry.real + params["bias"])
        return new, new.real

    return sj.Cell(init, initial_carry, step, features)


@pytest.mark.parametrize("devices", [1, 2])
def test_no_array_is_given_up_twice(prepare, devices):
    cell = f"{__name__}:{one_array_for_all.__name__}"
    step, state, corpus = prepare(devices, cell=cell, features=4)
    for _ in range(2):
        state, metrics = step(state, corpus)
    assert np.isfinite(metrics.loss) and int(state.step) == 2


def test_the_loss_is_that_of_the_next_window(prepare):
    """Without learning, the losses of steps are those of one long scan, boundaries included."""
    windows = 6
    step, state, corpus = prepare(optimizer=optax.sgd(0.0))
    model = jax.device_get(state.model)
    inputs, targets = window(
        jnp.asarray(CORPUS), jnp.asarray(state.memory.positions), windows * TIME
    )
    assert (np.array(inputs) == BOUNDARY)[:, 1:].any(1).all()
    losses = []
    for _ in range(windows):
        state, metrics = step(state, corpus)
        losses.append(float(metrics.loss))
    logits = jax.jit(lambda inputs: model(inputs, resets=inputs == BOUNDARY)[1])(inputs)
    parts = [
        float(cross_entropy(logits[:, part], targets[:, part])) / (STREAMS * TIME)
        for part in (slice(i * TIME, (i + 1) * TIME) for i in range(windows))
    ]
    np.testing.assert_allclose(losses, parts, rtol=1e-5)


def test_gradients_stop_at_the_window(prepare):
    """The update equals that of a loss in which the carry is a constant."""
    rate = 0.1
    step, state, corpus = prepare(optimizer=optax.sgd(rate))
    state, _ = step(state, corpus)
    before = jax.device_get(state)
    inputs, targets = window(jnp.asarray(CORPUS), jnp.asarray(before.memory.positions), TIME)

    def loss(model):
        _, logits = model(inputs, before.memory.carry, resets=inputs == BOUNDARY)
        return cross_entropy(logits, targets) / targets.size

    gradient = jax.jit(jax.grad(loss))(before.model)
    after, metrics = step(state, corpus)
    np.testing.assert_allclose(metrics.gradient_norm, optax.tree.norm(gradient), rtol=1e-4)
    jax.tree.map(
        lambda new, old, g: np.testing.assert_allclose(new, old - rate * g, rtol=1e-3, atol=1e-6),
        jax.device_get(after.model),
        before.model,
        gradient,
    )


def test_nothing_flows_from_one_document_into_the_next():
    """Other text before a boundary changes no logit after it."""
    model = build_model(LanguageModelConfig(features=8, embedding=4), len(VOCABULARY), 0)

    run = jax.jit(lambda tokens: model(tokens, resets=tokens == BOUNDARY)[1])

    def logits(first):
        documents = [Document("first", first), DOCUMENTS[1]]
        tokens = jnp.asarray(corpus_of(VOCABULARY, documents).astype(np.int32))
        return np.asarray(run(tokens))[len(first) + 1 :]

    np.testing.assert_array_equal(logits("document a"), logits("cabbages a"))


def test_the_same_on_any_number_of_devices(prepare):
    """Noise included."""
    results = []
    for devices in (1, 2, 4):
        step, state, corpus = prepare(devices, dropout=0.3)
        for _ in range(4):
            state, metrics = step(state, corpus)
        results.append(jax.device_get((state.model, metrics.loss)))
    for other in results[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            results[0],
            other,
        )


class Noise:
    """A task whose loss is noise."""

    batch_size, batch_spec, begin_with = STREAMS, jax.P(AXIS), None

    def model(self, seed):
        return {"gain": jnp.ones(())}

    def cast(self, model, dtype):
        return model

    def start(self, model, seed):
        return ()

    def loss(self, model, memory, batch, keys):
        return model["gain"] * jax.vmap(jax.random.uniform)(keys).sum(), batch.sum(), memory


def test_every_step_has_noise_of_its_own():
    task, optimizer, mesh = Noise(), optax.sgd(0.0), make_mesh(STREAMS, 2)
    state = start(task, optimizer, seed=0, dtype="float32", mesh=mesh)
    step = make_train_step(task, optimizer, mesh, seed=0, dtype="float32")
    losses = []
    for _ in range(3):
        state, metrics = step(state, jnp.ones(STREAMS))
        losses.append(float(metrics.loss))
    assert len(set(losses)) == 3


def test_gradients_are_summed_over_devices_once_and_outside_the_loops(prepare):
    step, state, corpus = prepare()
    program = step.lower(state, corpus).compile().as_text()
    loops = set(re.findall(r"(?:body|condition)=%([\w.\-]+)", program))
    assert loops
    inside = False
    found = 0
    for line in program.splitlines():
        header = re.match(r"(?:ENTRY )?%([\w.\-]+) .*\{$", line)
        if header:
            inside = header[1] in loops
        if "all-reduce(" in line:
            assert not inside, line
            found += 1
    assert found >= 1


def test_the_first_broken_step_is_remembered(prepare):
    step, state, corpus = prepare(optimizer=optax.sgd(0.0))
    state, _ = step(state, corpus)
    host = jax.device_get(state)
    model = jax.tree.map(lambda leaf: leaf * np.nan, host.model)
    state = place(host._replace(model=model), make_mesh(STREAMS, 2))
    for _ in range(3):
        state, _ = step(state, corpus)
    assert int(state.broken_at) == 2 and int(state.step) == 4


def test_it_learns(prepare):
    step, state, corpus = prepare(features=32)
    losses = []
    for _ in range(150):
        state, metrics = step(state, corpus)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("devices", [1, 4])
def test_evaluation_is_the_cost_of_the_text(devices):
    """Rows side by side with a warm-up cost as much as one pass, document by document."""
    model = build_model(LanguageModelConfig(features=8, embedding=4), len(VOCABULARY), 0)
    cost = jax.jit(lambda tokens: cross_entropy(model(tokens[:-1])[1], tokens[1:]))
    nats = 0.0
    for document in DOCUMENTS:
        nats += float(cost(jnp.asarray(corpus_of(VOCABULARY, [document]).astype(np.int32))))
    characters = sum(len(text) for _, text in DOCUMENTS)
    mesh = make_mesh(64, devices)
    placed = jax.device_put(model, jax.NamedSharding(mesh, jax.P()))
    score = Evaluator(CORPUS, mesh, Recipe(VOCABULARY))(placed)
    assert score.tokens == characters
    assert score.nats == pytest.approx(nats, rel=1e-4)
