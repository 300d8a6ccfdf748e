"""Vectors and images: what composites take and put out follows from their parts."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import seqjax as sj

TIME, PIXELS, CHANNELS = 6, 5, 3
images = sj.conv_gru(CHANNELS, space=(PIXELS,))
mean = sj.space_mean(CHANNELS, axes=1)

OVER_IMAGES = {
    "layer before": sj.stack(sj.dense(CHANNELS), images),
    "layer behind": sj.stack(images, sj.dense(CHANNELS)),
    "prenorm": sj.prenorm(images),
    "stack of layers before": sj.stack(
        sj.stack(sj.rms_norm(CHANNELS), sj.dropout(sj.feed_forward(CHANNELS), 0.5)), images
    ),
    "product": sj.product(sj.dense(CHANNELS), images),
    "product of layers": sj.stack(sj.product(sj.dense(CHANNELS), sj.dense(CHANNELS)), images),
    "on_slice": sj.on_slice(sj.dropout(images, 0.5), width=3, rest=0),
    "layer on_slice": sj.stack(sj.on_slice(sj.dense(2), width=2, rest=1), images),
    "bidirectional": sj.bidirectional(images, sj.dense(CHANNELS), merge="sum"),
    "zoneout": sj.zoneout(images, 0.5),
    "learned": sj.checkpointed(sj.learned_initial_carry(sj.prenorm(images))),
}


@pytest.mark.parametrize("name", OVER_IMAGES)
def test_cells_over_images(name):
    cell = OVER_IMAGES[name]
    assert (cell.input_ndim, cell.output_ndim, cell.pixelwise) == (2, 2, False)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), CHANNELS))
    for batch in ((), (1,), (2, 3)):
        shape = (*batch, TIME, PIXELS, CHANNELS)
        xs = jax.ShapeDtypeStruct(shape, jnp.float32)
        carry, ys = jax.eval_shape(lambda params, xs: sj.scan(cell, params, xs), params, xs)
        assert ys.shape == shape
        assert all(leaf.shape[: len(batch)] == batch for leaf in jax.tree.leaves(carry))


def test_from_images_to_vectors():
    cell = sj.stack(sj.dense(CHANNELS), images, mean, sj.gru(4))
    assert (cell.input_ndim, cell.output_ndim) == (2, 1)
    layers = sj.prenorm(sj.stack(sj.dense(2), sj.dense(3)))
    assert (layers.input_ndim, layers.output_ndim, layers.pixelwise) == (1, 1, True)


def test_dropout_draws_once_for_an_image():
    """One draw for each sequence, and another zero for each pixel."""
    pass_on = sj.pointwise(
        lambda params, x: x, features=3, init=lambda key, in_features: (), input_ndim=2
    )
    cell = sj.dropout(pass_on, 0.5)
    carry = sj.seed_carry(cell.initial_carry((), (2,)), jax.random.key(0))
    carry, ys = sj.scan(cell, (), jnp.ones((2, TIME, PIXELS, CHANNELS)), carry)
    assert carry.randomness.draws.tolist() == [TIME, TIME]
    dropped = ys == 0
    assert (dropped != dropped[:, :, :1]).any() and (dropped != dropped[:, :1]).any()


def test_a_cell_over_images_inside_flax():
    cell = sj.nn.FlaxCell(images, CHANNELS, rngs=nnx.Rngs(0))
    assert cell.initialize_carry((2, PIXELS, CHANNELS), nnx.Rngs(0)).shape == (2, PIXELS, CHANNELS)
    assert cell.num_feature_axes == 2


def not_said(params, x):
    return x[..., None]


MISTAKES = {
    "vectors for images": (
        lambda: sj.stack(sj.gru(3), images),
        r"conv_gru.* takes arrays of rank 2 at each step, but .*, gru\(3\), puts out vectors",
    ),
    "images for vectors": (
        lambda: sj.stack(sj.dense(3), images, sj.rms_norm(3), sj.short_convolution(3)),
        r"short_convolution\(3\) takes vectors .*, rms_norm\(3\), puts out arrays of rank 2",
    ),
    "a way around a mean": (lambda: sj.residual(mean), r"same rank.*puts out vectors"),
    "a slice of a mean": (lambda: sj.on_slice(mean, width=2, rest=1), r"on_slice.*same rank"),
    "a product": (lambda: sj.product(sj.gru(3), images), r"product: .*same ranks; gru\(3\)"),
    "two directions": (lambda: sj.bidirectional(images, mean), r"same ranks.*puts out vectors"),
    "attention": (lambda: sj.attentive(images, 3), r"expected a cell that puts out vectors"),
    "a pointwise that adds an axis": (
        lambda: sj.pointwise(not_said, features=1, init=lambda key, in_features: ()).step(
            (), (), jnp.ones((2, 3))
        ),
        r"pointwise\(not_said.*output_ndim=1.* \(3,\) must give an output of rank 1; .* \(3, 1\)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    make, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        make()
