"""Models as cells: their parameters are the model, their step is that of the model."""

from typing import Any

from seqjax.core.cell import Cell, factory


@factory
def model_cell(features: int, *, input_ndim: int = 1) -> Cell:
    """A recurrent layer or a language model as a cell.

        carry, y = model.step(carry, x)

    So what is done to a cell and its parameters can be done to a model, such as learning online.

    Args:
      features: width of the outputs: of a language model the size of its vocabulary.
      input_ndim: rank of the input of one step, 0 for tokens.

    Returns:
      A cell whose parameters are the model, an `sj.nn.RNN` or an `sj.nn.LanguageModel`. It has no
      `init`.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> model = sj.nn.LanguageModel(50, sj.lstm(16), embedding_size=8, rngs=nnx.Rngs(0))
      >>> cell = sj.nn.model_cell(50, input_ndim=0)
      >>> carry, logits = sj.scan(cell, model, jnp.zeros((2, 5), int))
      >>> logits.shape
      (2, 5, 50)
    """

    def init(key: Any, in_features: int) -> Any:
        raise ValueError(
            "model_cell: expected a model as parameters; it has no `init`. Build the model, an "
            "sj.nn.RNN or an sj.nn.LanguageModel."
        )

    def sequence(scan, model, carry, initial, xs, steps):
        rnn = getattr(model, "rnn", model)
        inner = model.embed(xs) if rnn is not model else xs
        run = scan(rnn.cell, rnn.params, carry, initial, inner, steps)
        return run._replace(ys=model.logits(run.ys)) if rnn is not model else run

    return Cell(
        init=init,
        initial_carry=lambda params, batch_shape=(): params.initial_carry(batch_shape),
        step=lambda model, carry, x: model.step(carry, x),
        features=features,
        input_ndim=input_ndim,
        output_ndim=1,
        sequence=sequence,
    )
