"""Noise of training under keys of every implementation: row by row what it is for a row alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.core.keys import batchable
from seqjax.data.examples import Example
from seqjax.data.vocabulary import UNKNOWN
from seqjax.nn.outputs import Gaussian
from seqjax.nn.recursive_forecaster import RecursiveForecaster
from seqjax.train.tag_options import TagConfig, TaggerConfig
from seqjax.train.tasks.tag import Tagging

KINDS = ("threefry2x32", "rbg", "unsafe_rbg")


@pytest.mark.parametrize("kind", KINDS)
def test_word_dropout(kind):
    words = tuple(f"w{i}" for i in range(40))
    config = TagConfig(model=TaggerConfig(word_dropout=0.5))
    task = Tagging.fit(config, [Example(words, ("X",) * 40)])
    encoded = task.encode(Example(words, ("X",) * 40))
    assert task.input_vocabulary is not None
    batch = {name: jnp.asarray(value)[None].repeat(3, 0) for name, value in encoded.items()}
    batch["lengths"] = jnp.full(3, 40)
    keys = jax.random.split(jax.random.key(7, impl=kind), 3)

    def hidden(keys, batch):
        seen = lambda inputs, *, lengths, key: inputs[0]  # noqa: E731
        return np.asarray(task._emissions(seen, batch, keys)) == UNKNOWN

    together = hidden(keys, batch)
    assert 0.2 < together.mean() < 0.8
    assert len({row.tobytes() for row in together}) == 3
    one = {name: value[:1] for name, value in batch.items()}
    for row in range(3):
        np.testing.assert_array_equal(hidden(keys[row : row + 1], one)[0], together[row])
    # None without keys, or at the rate 0.
    assert not hidden(None, batch).any()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_paths_of_a_forecast(kind):
    model = RecursiveForecaster(
        sj.elman(2), Gaussian(1), targets=1, horizon=2, paths=3, rngs=nnx.Rngs(0)
    )
    history, key = jnp.sin(jnp.arange(8.0))[:, None], jax.random.key(7, impl=kind)
    paths = model.sample(history, key=key)
    assert len({path.tobytes() for path in np.asarray(paths)}) == 3
    np.testing.assert_array_equal(paths, model.sample(history, key=batchable(key)))
