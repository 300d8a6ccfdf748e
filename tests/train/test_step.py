"""The update: truncated BPTT on streams, one program, the same on any number of devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.core.errors import InputError
from seqjax.data.documents import Document
from seqjax.data.streams import start_positions, window
from seqjax.data.tokenizer import corpus_of
from seqjax.data.vocabulary import BOUNDARY, Vocabulary
from seqjax.losses import cross_entropy
from seqjax.train.config import OptimizerConfig
from seqjax.train.devices import make_mesh
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
STARTS = start_positions(len(CORPUS), STREAMS)


@pytest.fixture
def prepare(monkeypatch):
    texts = Texts("documents", DOCUMENTS, DOCUMENTS)
    monkeypatch.setattr(lm, "find_texts", lambda config, log: texts)

    def prepare(
        devices=2, optimizer=None, accumulate=1, sharded=False, time=1, model_devices=1, **model
    ):
        mesh = make_mesh(STREAMS, devices, time=time, model=model_devices)
        config = lm.LanguageConfig(
            model=LanguageModelConfig(
                **({"cell": "gru", "features": 8, "embedding": 4, "dropout": 0.0} | model)
            ),
            data=TextConfig(time=TIME),
            batch=STREAMS,
        )
        task = lm.LanguageTask(config, print)
        optimizer = optimizer or build_optimizer(OptimizerConfig(), 100)
        state = start(task, optimizer, seed=0, dtype="float32", mesh=mesh, sharded=sharded)
        step = make_train_step(
            task,
            optimizer,
            mesh,
            seed=0,
            dtype="float32",
            accumulate=accumulate,
            sharded=sharded,
        )
        return step, state, task.batches(0, mesh)

    return prepare


def test_one_program_and_no_transfers(prepare, caplog):
    step, state, batches = prepare(dropout=0.2, layers=2)
    with jax.log_compiles():
        state, _ = step(state, next(batches))
        assert "Compiling jit(step)" in caplog.text
        caplog.clear()
        with jax.transfer_guard("disallow"):
            for _ in range(6):
                state, metrics = step(state, next(batches))
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
    step, state, batches = prepare(devices, cell=cell, features=4)
    for _ in range(2):
        state, metrics = step(state, next(batches))
    assert np.isfinite(metrics.loss) and int(state.step) == 2


def test_the_loss_is_that_of_the_next_window(prepare):
    """Without learning, the losses of steps are those of one long scan, boundaries included."""
    windows = 6
    step, state, batches = prepare(optimizer=optax.sgd(0.0))
    model = jax.device_get(state.model)
    tokens = window(CORPUS, STARTS, windows * TIME, 0).astype(np.int32)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    assert (inputs == BOUNDARY)[:, 1:].any(1).all()
    losses = []
    for _ in range(windows):
        state, metrics = step(state, next(batches))
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
    step, state, batches = prepare(optimizer=optax.sgd(rate))
    state, _ = step(state, next(batches))
    before = jax.device_get(state)
    tokens = window(CORPUS, STARTS, TIME, 1).astype(np.int32)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]

    def loss(model):
        _, logits = model(inputs, before.memory.carry, resets=inputs == BOUNDARY)
        return cross_entropy(logits, targets) / targets.size

    gradient = jax.jit(jax.grad(loss))(before.model)
    after, metrics = step(state, next(batches))
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


def test_the_same_on_any_number_of_devices_and_in_micro_batches(prepare):
    """Noise included, and the states of the streams."""
    results = []
    for devices, accumulate in ((1, 1), (2, 1), (4, 1), (1, 4), (2, 2)):
        step, state, batches = prepare(devices, dropout=0.3, accumulate=accumulate)
        for _ in range(4):
            state, metrics = step(state, next(batches))
        states = [leaf for leaf in jax.tree.leaves(state.memory) if leaf.dtype == jnp.float32]
        results.append(jax.device_get((state.model, metrics.loss, states)))
    for other in results[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            results[0],
            other,
        )


class Noise:
    """A task whose loss is noise."""

    batch_size, begin_with = STREAMS, None

    def model(self, seed):
        return {"gain": jnp.ones(())}

    def cast(self, model, dtype):
        return model

    def start(self, model, seed):
        return ()

    def loss(self, model, memory, batch, keys):
        return model["gain"] * jax.vmap(jax.random.uniform)(keys).sum(), batch.sum(), memory


class Ragged(Noise):
    """Of every sequence another number of targets counts."""

    def loss(self, model, memory, batch, keys):
        return (model["gain"] * batch).sum(), jnp.sqrt(batch).sum(), memory


def test_micro_batches_count_by_their_targets():
    """As large integers, whose sums are exact: the update is that of the whole batch."""
    batch, found = jnp.array([0.0, 9.0, 1024.0**2, 4.0]), []
    for accumulate in (1, 2, 4):
        mesh = make_mesh(STREAMS, 1)
        state = start(Ragged(), optax.sgd(1.0), seed=0, dtype="float32", mesh=mesh)
        step = make_train_step(
            Ragged(), optax.sgd(1.0), mesh, seed=0, dtype="float32", accumulate=accumulate
        )
        state, metrics = step(state, batch)
        found.append((float(state.model["gain"]), *map(float, metrics)))
    total, weight = 13 + 1024.0**2, 5 + 1024
    assert found[0] == found[1] == found[2]
    np.testing.assert_allclose(found[0], [1 - total / weight, *[total / weight] * 2], rtol=1e-6)


def test_every_step_has_noise_of_its_own():
    task, optimizer, mesh = Noise(), optax.sgd(0.0), make_mesh(STREAMS, 2)
    state = start(task, optimizer, seed=0, dtype="float32", mesh=mesh)
    step = make_train_step(task, optimizer, mesh, seed=0, dtype="float32")
    losses = []
    for _ in range(3):
        state, metrics = step(state, jnp.ones(STREAMS))
        losses.append(float(metrics.loss))
    assert len(set(losses)) == 3


def collectives(step, state, batches):
    """The lines of the compiled step with messages between devices: outside of loops, inside."""
    program = step.lower(state, next(batches)).compile().as_text()
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in program.splitlines():
        header = re.match(r"(?:ENTRY )?%([\w.\-]+) .*\{$", line)
        lines = parts.setdefault(header[1], []) if header else lines
        lines.append(line)
    called = {
        name: set(re.findall(r"=%([\w.\-]+)", "\n".join(lines))) & parts.keys()
        for name, lines in parts.items()
    }
    inside = set(re.findall(r"(?:body|condition)=%([\w.\-]+)", program))
    assert inside
    while more := {name for part in inside for name in called[part]} - inside:
        inside |= more
    found: tuple[list[str], list[str]] = ([], [])
    for name, lines in parts.items():
        for line in lines:
            if re.search(r" (all-\w+|reduce-scatter|collective-permute)(-start)?\(", line):
                found[name in inside].append(line)
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_summed_over_devices_once_and_outside_the_loops(prepare, accumulate):
    outside, inside = collectives(*prepare(accumulate=accumulate))
    assert not inside
    assert len(outside) == 1 and "all-reduce(" in outside[0]


def trained(step, state, batches, steps=3):
    for _ in range(steps):
        state, metrics = step(state, next(batches))
    return jax.device_get((state.model, metrics))


DESCENT = optax.sgd(1.0)
"""Its updates are as exact as gradients. Adam divides by their size, and makes as much of the
rounding error of a gradient near zero as of a large gradient."""


def close(got, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, wanted)


def test_parameters_on_devices_that_share_the_batch(prepare):
    """Each keeps a quarter, gathers all before the loops, and gets its share of the gradient."""
    step, state, batches = prepare(4, features=48, sharded=True)
    weights = state.model.rnn.variables["recurrent"].get_value()
    assert weights.sharding.shard_shape(weights.shape) == (12, 3, 48)
    moments = [leaf for leaf in jax.tree.leaves(state.optimizer) if leaf.shape == weights.shape]
    assert moments and all(leaf.sharding == weights.sharding for leaf in moments)
    outside, inside = collectives(step, state, batches)
    assert not inside and any("all-gather(" in line for line in outside)
    whole = prepare(1, optimizer=DESCENT, features=48)
    before = jax.device_get(whole[1].model)
    wanted = trained(*whole)
    found = trained(*prepare(4, optimizer=DESCENT, features=48, sharded=True))
    close(found, wanted)
    leaves = [jax.tree.leaves(tree) for tree in (before, wanted[0], found[0])]
    moved = max(np.abs(a - b).max() for a, b, _ in zip(*leaves, strict=True))
    for _, a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6 * moved)


@pytest.mark.parametrize("cell", ["mlstm", "slstm"])
def test_models_on_devices_that_share_it(prepare, monkeypatch, cell):
    """Heads of memories, blocks of gated cells and the vocabulary, on devices of their own.

    Neither recurrent weights nor the embedding or the logits of all tokens are on one device, and
    no step of a loop waits for another device.
    """
    tokens = len(VOCABULARY) + 1
    documents = [*DOCUMENTS, Document("more", "X")]
    monkeypatch.setattr(lm, "find_texts", lambda *_: Texts("more", documents, documents))
    model = {"cell": cell, "features": 8, "embedding": 6, "cell_options": ("heads=2",)}
    model["optimizer"] = DESCENT
    step, state, batches = prepare(2, model_devices=2, **model)
    variables = jax.tree.leaves(state.model)
    assert sum(leaf.sharding.shard_shape(leaf.shape) != leaf.shape for leaf in variables) >= 6
    outside, inside = collectives(step, state, batches)
    assert outside and not inside
    gathered = [line.split(" all-gather(")[0] for line in outside if " all-gather(" in line]
    assert not [line for line in gathered if re.search(rf"\b{tokens}\b|2,4,4,4", line)]
    close(trained(*prepare(2, model_devices=2, **model)), trained(*prepare(1, **model)))


def test_time_on_devices_that_share_it(prepare):
    """States of the streams flow on from the last stretch of a window to the first of the next."""
    model = {"cell": "minimal_gru", "features": 16, "layers": 2, "dropout": 0.3}
    model["optimizer"] = DESCENT
    whole = prepare(1, **model)
    split = prepare(2, time=2, sharded=True, accumulate=2, **model)
    close(trained(*split), trained(*whole))
    with pytest.raises(InputError, match="--time-devices: .*gru.* is none of them"):
        trained(*prepare(2, time=2))


def test_the_first_broken_step_is_remembered(prepare):
    step, state, batches = prepare(optimizer=optax.sgd(0.0))
    state, _ = step(state, next(batches))
    host = jax.device_get(state)
    model = jax.tree.map(lambda leaf: leaf * np.nan, host.model)
    state = place(host._replace(model=model), make_mesh(STREAMS, 2))
    for _ in range(3):
        state, _ = step(state, next(batches))
    assert int(state.broken_at) == 2 and int(state.step) == 4


def test_it_learns(prepare):
    step, state, batches = prepare(features=32)
    losses = []
    for _ in range(150):
        state, metrics = step(state, next(batches))
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
