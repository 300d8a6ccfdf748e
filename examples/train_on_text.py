"""A character model from text to samples, with a cell and a training loop of your own.

    python examples/train_on_text.py [STEPS]

The text is Python's reference manual, which every Python carries: 1.4 bits per character of it
after 1,000 steps, a minute on two CPU cores.
"""

import sys
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax as sj

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
BATCH, WINDOW = 32, 64


@sj.factory
def minimal_gated_unit(features):
    """Zhou et al. 2016: one gate that forgets and writes."""

    def update(h, x, r):
        forget = jax.nn.sigmoid(x[0] + r[0])
        return (1 - forget) * h + forget * jnp.tanh(x[1] + forget * r[1])

    return sj.gated(update, features=features, gates=2)


text = "\n".join(topics[name] for name in sorted(topics))
characters = sorted(set(text))
one_hot = lambda tokens: jax.nn.one_hot(tokens, len(characters))  # noqa: E731
tokens = np.array([characters.index(c) for c in text])
# One stream for each sequence of the batch, read window by window.
streams = tokens[: len(tokens) // BATCH * BATCH].reshape(BATCH, -1)
windows = (streams.shape[1] - 1) // WINDOW

cell = sj.stack(minimal_gated_unit(256), sj.dense(len(characters)))
params = cell.init(jax.random.key(0), in_features=len(characters))
schedule = optax.cosine_decay_schedule(1e-2, STEPS)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


@jax.jit
def train_step(params, state, carry, tokens):
    """Truncated backpropagation: the carry of the window before comes in as a constant."""

    def loss(params):
        end, logits = sj.scan(cell, params, one_hot(tokens[:, :-1]), carry)
        errors = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        return errors.mean() / jnp.log(2), end

    (bits, carry), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    change, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, change), state, carry, bits


@jax.jit
def sample(params, carry, token, key, temperature=0.7):
    """The next 400 characters, one step at a time."""

    def step(state, key):
        carry, logits = cell.step(params, state[0], one_hot(state[1]))
        token = jax.random.categorical(key, logits / temperature)
        return (carry, token), token

    return jax.lax.scan(step, (carry, token), jax.random.split(key, 400))[1]


state, history = optimizer.init(params), []
for number in range(STEPS):
    start = number % windows * WINDOW
    if start == 0:
        carry = cell.initial_carry(params, (BATCH,))
    window = streams[:, start : start + WINDOW + 1]
    params, state, carry, bits = train_step(params, state, carry, window)
    history.append(float(bits))
    if number % 100 == 99:
        print(f"step {number + 1}: {np.mean(history[-100:]):.2f} bits per character")

newline = jnp.array(characters.index("\n"))
written = sample(params, cell.initial_carry(params), newline, jax.random.key(1))
print("".join(characters[token] for token in np.asarray(written)))
