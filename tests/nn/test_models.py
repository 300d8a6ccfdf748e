"""Models for each sequence shape: padding never counts, shapes and numbers are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import seqjax as sj
from seqjax.nn import pooling
from tests.nn.drawn import drawn, normal

XS = normal(3, 5, 2)
LENGTHS = jnp.array([5, 2, 0])
MASK = sj.length_mask(LENGTHS, 5)
POISON = jnp.where(MASK[..., None], XS, jnp.nan)


def close(got, wanted, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
                 got, wanted)  # fmt: skip


def by_hand(name, ys, mask):
    rows = [np.asarray(row)[np.asarray(valid)] for row, valid in zip(ys, mask, strict=True)]
    pick = {"last": lambda r: r[-1], "first": lambda r: r[0], "mean": lambda r: r.mean(0),
            "maximum": lambda r: r.max(0)}[name]  # fmt: skip
    return np.stack([pick(row) if len(row) else np.zeros(row.shape[-1]) for row in rows])


@pytest.mark.parametrize("name", ["last", "first", "mean", "maximum"])
def test_pooling(name):
    @jax.jit
    def pool(ys, mask):
        pooled = getattr(pooling, name)
        return pooled(ys, mask), jax.grad(lambda ys: pooled(ys, mask).sum())(ys)

    holes = MASK.at[0, 4].set(False).at[0, 0].set(False)
    for mask in (MASK, holes):
        poison = np.where(mask[..., None], XS, np.nan)
        pooled, gradient = pool(poison, mask)
        close(pooled, by_hand(name, XS, mask))
        assert np.isfinite(gradient).all()
        assert not np.where(mask[..., None], 0, gradient).any()


def test_attention_pooling():
    pool = drawn(lambda rngs: sj.nn.AttentionPooling(2, rngs=rngs))

    @jax.jit
    def run(pool, ys):
        return pool(ys, MASK), jax.grad(lambda ys: pool(ys, MASK)[0].sum())(ys)

    (pooled, weights), gradient = run(pool, POISON)
    close(weights.sum(-1), [1.0, 1.0, 0.0])
    close(pooled, np.einsum("bt,btf->bf", weights, np.where(MASK[..., None], XS, 0)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("cell", [sj.gru(4), sj.bidirectional(sj.gru(4))])
def test_a_classifier_does_not_see_padding(name, cell):
    model = drawn(lambda rngs: sj.nn.Classifier(cell, 2, sj.nn.Softmax(3), pooling=name, rngs=rngs))

    def loss(model, xs, lengths):
        raw = model(xs, lengths=lengths)
        return model.outputs.loss(raw, jnp.array([0, 1, 2])), raw

    @jax.jit
    def run(model):
        cut, other = model(XS[1:2, :2]), model(jnp.where(MASK[..., None], XS, 7.0), mask=MASK)
        return jax.value_and_grad(loss, has_aux=True)(model, POISON, LENGTHS), cut, other

    ((_, raw), gradient), cut, other = run(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    close(raw[1:2], cut)
    close(raw, other)


def test_a_classifier_that_reads_both_ways_sees_both_ends():
    """With pooling "last", the first step moves the answer as the last one does."""
    cell = sj.bidirectional(sj.elman(4, recurrent_init=sj.initializers.Constant(0.0)))
    model = sj.nn.Classifier(cell, 2, sj.nn.Regression(), rngs=nnx.Rngs(0))
    steps = np.abs(jax.jit(jax.grad(lambda xs: model(xs)[0]))(XS[0])).sum(-1)
    # Without memory, these two are all it can see.
    np.testing.assert_array_equal(steps > 0, [True, False, False, False, True])


def test_weights_need_attention():
    build = lambda pooling: drawn(  # noqa: E731
        lambda rngs: sj.nn.Classifier(sj.gru(4), 2, sj.nn.Softmax(3), pooling=pooling, rngs=rngs)
    )
    weights = jax.jit(lambda model: model.weights(XS, lengths=LENGTHS))(build("attention"))
    close(weights.sum(-1), [1.0, 1.0, 0.0])
    model = build("last")
    with pytest.raises(ValueError, match="use pooling='attention'"):
        model.weights(XS)


OUTPUTS = [sj.nn.Regression(2), sj.nn.Quantiles((0.1, 0.5, 0.9), 2), sj.nn.Gaussian(2)]


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: type(outputs).__name__)
def test_outputs_of_numbers(outputs):
    raw, base = normal(4, outputs.size), jnp.array([[10.0, -3.0]] * 4)
    levels = (0.05, 0.1, 0.5, 0.7, 0.9)

    @jax.jit
    def run(raw, key):
        before = outputs.quantiles(raw, levels)
        after = outputs.quantiles(outputs.shifted(raw, base), levels)
        sample = jax.vmap(lambda key: outputs.sample(key, raw))(jax.random.split(key, 4000))
        return before, after, outputs.predict(raw)["prediction"], sample

    before, after, prediction, sample = jax.tree.map(np.asarray, run(raw, jax.random.key(2)))
    assert before.shape == (4, 2, 5)
    close(after - before, np.broadcast_to(base[..., None], before.shape))
    assert (np.diff(before, axis=-1) >= 0).all()
    close(prediction, before[..., 2])
    if not isinstance(outputs, sj.nn.Regression):
        share = (sample[..., None] <= before[None, ..., 1:4]).mean(0)
        # Draws stay between the outermost quantiles that were learned.
        lowest = 0.0 if isinstance(outputs, sj.nn.Quantiles) else 0.1
        np.testing.assert_allclose(share[..., 1], 0.5, atol=0.05)
        np.testing.assert_allclose(share[..., 2], 0.7, atol=0.05)
        assert (share[..., 0] >= lowest - 0.05).all()


def test_the_quantile_loss_finds_quantiles():
    """What minimises the loss are the quantiles of the targets."""
    outputs = sj.nn.Quantiles((0.1, 0.5, 0.9))
    targets = jnp.asarray(np.random.default_rng(0).exponential(size=(2000, 1)), jnp.float32)
    optimizer = optax.adam(0.05)

    def update(now, _):
        raw, state = now
        gradient = jax.grad(
            lambda raw: outputs.loss(jnp.broadcast_to(raw[None], (2000, 3)), targets) / 2000
        )(raw)
        change, state = optimizer.update(gradient, state)
        return (optax.apply_updates(raw, change), state), None

    @jax.jit
    def fit(raw):
        (raw, _), _ = jax.lax.scan(update, (raw, optimizer.init(raw)), length=400)
        return outputs.predict(raw)["quantiles"][0]

    wanted = np.quantile(targets, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(fit(jnp.zeros(3)), wanted, atol=0.05)


def test_mistakes_in_outputs():
    with pytest.raises(ValueError, match="rising numbers between 0 and 1"):
        sj.nn.Quantiles((0.5, 0.1))
    with pytest.raises(ValueError, match="positive whole number"):
        sj.nn.Softmax(0)


TAGS = ("B-X", "I-X", "O")


def test_taggers_do_not_see_padding():
    tags = jnp.array([[2, 0, 1, 1, 2], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])

    def loss(model, xs):
        return model.loss(model(xs, lengths=LENGTHS), tags, MASK)

    @jax.jit
    def run(model):
        apart = [
            model.loss(model(XS[i : i + 1, :n]), tags[i : i + 1, :n], MASK[i : i + 1, :n])
            for i, n in ((0, 5), (1, 2))
        ]
        found = model.predict(model(POISON, lengths=LENGTHS), MASK)
        return jax.value_and_grad(loss)(model, POISON), apart, found

    both = sj.bidirectional(sj.gru(4))
    for build in (
        lambda rngs: sj.nn.Tagger(both, 2, 3, rngs=rngs),
        lambda rngs: sj.nn.CRFTagger(both, 2, TAGS, scheme="BIO", rngs=rngs),
    ):
        (value, gradient), apart, found = run(drawn(build))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        close(value, sum(apart))
        close(found["probability"][0].sum(-1), np.ones(5))


def test_a_crf_tagger_never_breaks_the_scheme():
    model = drawn(lambda rngs: sj.nn.CRFTagger(sj.gru(4), 2, TAGS, scheme="BIO", rngs=rngs))
    emissions, mask = 10 * normal(200, 6, 3), jnp.ones((200, 6), bool)
    tags = np.asarray(jax.jit(lambda model: model.predict(emissions, mask)["prediction"])(model))
    assert (tags[:, 0] != 1).all()
    assert not ((tags[:, :-1] == 2) & (tags[:, 1:] == 1)).any()
    assert (tags == 1).any()


def test_word_embedding_reads_spelling():
    embed = drawn(lambda rngs: sj.nn.WordEmbedding(10, 8, word_size=3, spelling=4, rngs=rngs))
    words = jnp.array([[1, 1, 1]])
    letters = jnp.array([[[2, 3, 0, 0], [3, 2, 0, 0], [0, 0, 0, 0]]])
    vectors, cut = jax.jit(
        lambda embed: (embed((words, letters)), embed((words, letters[..., :2])))
    )(embed)
    assert vectors.shape == (1, 3, embed.features) == (1, 3, 11)
    assert not np.allclose(vectors[0, 0], vectors[0, 1])
    close(vectors[0, 2, 3:], np.zeros(8))
    close(cut[0, :2], vectors[0, :2])


def test_embeddings_follow_the_dtype_of_their_parameters():
    """In float32 they would drag all behind them along."""
    tokens, letters = jnp.zeros((1, 2), int), jnp.zeros((1, 2, 3), int)
    model = drawn(lambda rngs: sj.nn.LanguageModel(5, sj.gru(4), embedding_size=4, rngs=rngs))
    words = drawn(lambda rngs: sj.nn.WordEmbedding(5, 5, spelling=4, rngs=rngs))
    decoder = drawn(lambda rngs: sj.nn.Decoder(5, sj.gru(4), 6, embedding_size=4, rngs=rngs))
    for embed, given in (
        (model.embedding, tokens),
        (words, (tokens, letters)),
        (decoder.embedding, tokens),
    ):
        narrow = sj.cast(embed, jnp.bfloat16)
        assert jax.eval_shape(narrow, given).dtype == jnp.bfloat16


def forecasters(**options):
    settings = {"horizon": 3, "season": 4, "targets": 2} | options
    outputs = sj.nn.Quantiles((0.1, 0.5, 0.9), settings["targets"])
    for kind in (sj.nn.DirectForecaster, sj.nn.RecursiveForecaster):
        yield drawn(lambda rngs, kind=kind: kind(sj.gru(4), outputs, **settings, rngs=rngs))


HISTORY, FUTURE = normal(2, 9, 2, seed=4), normal(2, 3, 2, seed=5)


@pytest.mark.parametrize("covariates", [0, 2])
def test_forecasts_scale_with_the_series(covariates):
    """Metres or feet, above sea level or not: the forecast is the same one."""
    known = normal(2, 12, 2, seed=6) if covariates else None

    @jax.jit
    def run(model, history, future):
        return model.quantiles(history, known, (0.1, 0.5, 0.9)), model.loss(history, future, known)

    for model in forecasters(covariates=covariates):
        found, (total, count) = run(model, HISTORY, FUTURE)
        assert found.shape == (2, 3, 2, 3)
        moved, (other, _) = run(model, 3 * HISTORY + 100, 3 * FUTURE + 100)
        close(moved, 3 * found + 100, 1e-3)
        close(total, other, 1e-3)
        assert count == (2 * 3 if isinstance(model, sj.nn.DirectForecaster) else 2 * 11)


def test_missing_values_count_for_nothing():
    history = HISTORY.at[0, 2:4].set(jnp.nan)
    future = FUTURE.at[1, 1, 0].set(jnp.nan)
    rows = jnp.array([True, False])

    @jax.jit
    def run(model):
        loss = jax.value_and_grad(lambda model: model.loss(history, future), has_aux=True)
        alone = model.loss(history, future, mask=rows)[0], model.loss(history[:1], future[:1])[0]
        return loss(model), alone

    for model in forecasters():
        ((total, count), gradient), alone = run(model)
        assert np.isfinite(total) and all(
            np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)
        )
        whole = 6 if isinstance(model, sj.nn.DirectForecaster) else 22
        assert count == whole - (1 if whole == 6 else 3)
        close(*alone)


def test_learning_starts_at_the_seasonal_naive_forecast():
    for kind in (sj.nn.DirectForecaster, sj.nn.RecursiveForecaster):
        model = kind(sj.gru(4), sj.nn.Regression(), horizon=6, season=4, rngs=nnx.Rngs(0))
        history = HISTORY[..., :1]
        naive = np.asarray(history)[:, [5, 6, 7, 8, 5, 6]]
        forecast = jax.jit(lambda model: model.quantiles(history, None, (0.5,)))  # noqa: B023
        close(forecast(model)[..., 0], naive, 1e-4)


@pytest.mark.parametrize("kind", [sj.nn.DirectForecaster, sj.nn.RecursiveForecaster])
def test_with_differences_learning_starts_at_the_last_value_and_the_mean_step(kind):
    """Wherever the last value was observed, and with steps of the last season around the mean."""
    options = {"horizon": 4, "difference": True, "rngs": nnx.Rngs(0)}
    line = 5 + 0.25 * jnp.arange(9.0)
    history = jnp.stack([line, line.at[7:].set(jnp.nan), -line])[..., None]
    forecast = kind(sj.gru(2), sj.nn.Regression(), **options).quantiles(history, None, (0.5,))
    ahead = 5 + 0.25 * np.arange(9.0, 13.0)
    close(forecast[:, :, 0, 0], np.stack([ahead, ahead, -ahead]), 1e-4)
    steps = jnp.tile(jnp.array([1.0, 2.0, 3.0, -2.0]), 3)
    seasonal = kind(sj.gru(2), sj.nn.Regression(), season=4, **options)
    history = jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)])[None, :, None]
    close(seasonal.quantiles(history, None, (0.5,))[0, :, 0, 0], 12 + np.array([1, 3, 6, 4]), 1e-4)


def test_what_is_known_for_the_history_alone():
    model = drawn(
        lambda rngs: sj.nn.DirectForecaster(
            sj.gru(2), sj.nn.Regression(), horizon=3, past=1, rngs=rngs
        )
    )
    history, past = HISTORY[..., :1], HISTORY[..., 1:]
    run = jax.jit(lambda past: model.quantiles(history, None, (0.5,), past))
    assert run(past).shape == (2, 3, 1, 1)
    assert not np.allclose(run(past), run(past + 1))
    for wrong in (None, past[:, 1:]):
        with pytest.raises(ValueError, match=r"`past` must be \(\*batch, 9, 1\)"):
            model.quantiles(history, None, (0.5,), wrong)
    with pytest.raises(ValueError, match="`past` must be 0"):
        sj.nn.RecursiveForecaster(
            sj.gru(2), sj.nn.Regression(), horizon=3, past=1, rngs=nnx.Rngs(0)
        )


def test_a_recursive_forecast_reads_what_it_predicted():
    """Step by step with the cell: the same numbers, with points that are not drawn."""
    options = {"horizon": 3, "season": 2, "covariates": 1, "paths": 1}
    model = drawn(
        lambda rngs: sj.nn.RecursiveForecaster(sj.gru(4), sj.nn.Regression(), **options, rngs=rngs)
    )
    history, known = HISTORY[:1, :, :1], normal(1, 12, 1, seed=7)

    @jax.jit
    def run(model):
        z, _, location, scale = model.scaled(history)
        path = list(z[0, :, 0])
        for _ in range(3):
            series = jnp.stack(path)[None, :, None]
            ahead = known[:, : len(path) + 1]
            ys = model.rnn(model.inputs(series, jnp.ones(series.shape, bool), ahead))[1]
            path.append((model.head(ys)[0, -1] + path[-2])[0])
        wanted = jnp.stack(path[-3:]) * scale[0, 0] + location[0, 0]
        return model.quantiles(history, known, (0.5,))[0, :, 0, 0], wanted

    close(*run(model), 1e-4)


def test_a_constant_history_has_scale_one():
    """What rounding leaves of a constant is no scale: the next change would count for millions."""
    history = jnp.full((1, 168, 1), 0.1)

    @jax.jit
    def run(model):
        return model.scaled(history)[-1], model.loss(history, jnp.full((1, 3, 1), 0.2))[0]

    for model in forecasters(targets=1):
        scale, total = run(model)
        assert scale == 1
        assert total < 100


def test_one_step_ahead_with_covariates():
    forecast = jax.jit(lambda model: model.quantiles(HISTORY, normal(2, 10, 1), (0.5,)))
    for model in forecasters(horizon=1, covariates=1):
        found = forecast(model)
        assert found.shape == (2, 1, 2, 1) and np.isfinite(found).all()


def test_draws_reach_beyond_the_outer_quantiles():
    outputs = sj.nn.Quantiles((0.1, 0.5, 0.9))
    one = sj.nn.Quantiles((0.5,))

    @jax.jit
    def run(raw, key):
        quantiles = outputs.predict(raw)["quantiles"][0, 0]
        return quantiles, outputs.sample(key, raw), one.sample(key, jnp.ones((1,)))

    (low, _, high), sample, alone = run(jnp.zeros((4000, 3)), jax.random.key(0))
    sample = np.asarray(sample)
    assert abs((sample < low).mean() - 0.1) < 0.02 and abs((sample > high).mean() - 0.1) < 0.02
    assert alone == 1


def test_mistakes_in_forecasters():
    with pytest.raises(ValueError, match="sees the future"):
        sj.nn.DirectForecaster(
            sj.bidirectional(sj.gru(2)), sj.nn.Regression(), horizon=2, rngs=nnx.Rngs(0)
        )
    for model in forecasters(season=12):
        with pytest.raises(ValueError, match="at least 12 steps"):
            model.quantiles(HISTORY, None, (0.5,))
    for model in forecasters(covariates=1):
        with pytest.raises(ValueError, match="known for"):
            model.quantiles(HISTORY, None, (0.5,))
        with pytest.raises(ValueError, match=r"history must be \(\*batch, time, 2\)"):
            model.quantiles(HISTORY[..., :1], None, (0.5,))


def test_noise_of_a_row_does_not_depend_on_the_others():
    rnn = drawn(lambda rngs: sj.nn.RNN(sj.dropout(sj.gru(4), 0.5), 2, rngs=rngs))

    @jax.jit
    def run(rnn, key):
        keys = jax.random.split(key, 3)
        return rnn(XS, key=keys)[1], rnn(XS[1:2], key=keys[1:2])[1]

    together, alone = run(rnn, jax.random.key(0))
    close(together[1:2], alone)
    assert (together == 0).any()
