"""The laws every cell must obey, as one call: for our cells and for anyone's."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.trees import cast, is_float
from seqjax.core.types import Inputs, PRNGKeyArray, PyTree
from seqjax.engines.methods import Method
from seqjax.engines.scan import scan, trajectory
from seqjax.testing.case import (
    ROWS,
    STEPS,
    Case,
    Weights,
    make_case,
    poison,
    row_of,
    steps_of,
    with_gradient,
)
from seqjax.testing.loop import Loop


def check_cell(
    cell: Cell,
    in_features: int,
    *,
    inputs: Callable[[PRNGKeyArray, tuple[int, ...]], Inputs] | None = None,
    methods: Sequence[Method | str] = ("plain", "auto"),
    seed: int = 0,
) -> None:
    """Checks the laws of the contract on a cell, in float64.

    The reference is a Python loop over `cell.step`, with its gradient accumulated by hand
    from the gradient of single steps; masked steps are skipped, not computed. The laws:

    * `step` keeps the carry's structure, shapes and dtypes (in bfloat16 too), for any batch
      dims, and its output has `features`;
    * scan = loop, values and gradients (parameters, inputs, initial carry), forward and in
      reverse, with lengths, mask, resets, `truncate` and `checkpoint_every`;
    * NaN in masked steps reaches nothing; a row without valid steps returns its carry;
    * a split with the carry handed on = one scan; the last of the trajectory = the carry;
    * reset = separate sequences; padded = cut;
    * causal; the same under `vmap`; one trace for all values.

    For a cell that needs the whole sequence, the last but one line and "padded = cut"
    stand in for the loop.

    Args:
      cell: the cell.
      in_features: width of its inputs.
      inputs: `(key, (*batch, time)) -> xs` for cells that take something else than vectors
        of `in_features` numbers.
      methods: the ways of `sj.scan` to check, names or values such as `sj.Chunked(4)`; each must
        give the numbers of the loop. For a small matrix memory on a CPU "auto" may be the plain
        loop: name "chunked" as well.
      seed: for parameters and inputs.

    Raises:
      AssertionError: naming the cell, the law, and by how much it fails.

    Example:
      >>> import seqjax as sj
      >>> from seqjax.testing import check_cell
      >>> check_cell(sj.minimal_gated(3), in_features=2)
    """
    with jax.enable_x64(True):
        case = make_case(cell, in_features, inputs, seed)
        _check_step(case)
        for method in methods:
            if cell.causal:
                _check_against_loop(case, method)
            else:
                _check_whole_sequences(case, method)


def _check_step(case: Case) -> None:
    cell, law = case.cell, "step keeps the form of the carry"
    hash(cell)
    for batch in ((), (2,), (2, 3)):
        for dtype in (jnp.float32, jnp.bfloat16, jnp.float64):
            params = cast(case.params, dtype)
            carry = jax.eval_shape(lambda p, b=batch: cell.initial_carry(p, b), params)
            x = jax.tree.map(
                lambda leaf, b=batch, d=dtype: jax.ShapeDtypeStruct(
                    (*b, *leaf.shape[2:]), d if is_float(leaf) else leaf.dtype
                ),
                case.xs,
            )
            for leaf in jax.tree.leaves(carry):
                case.require(law, leaf.shape[: len(batch)] == batch, f"{leaf} for {batch}")
            if not cell.causal:
                continue
            new, y = jax.eval_shape(cell.step, params, carry, x)
            same = jax.tree.structure(new) == jax.tree.structure(carry)
            case.require(law, same, f"{carry} became {new}")
            for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(new), strict=True):
                kept = a.shape == b.shape and a.dtype == b.dtype
                case.require(law, kept, f"with {dtype.__name__}, {a} became {b}")
            for leaf in jax.tree.leaves(y):
                wide = leaf.shape[: len(batch)] == batch and leaf.shape[-1] == cell.features
                case.require("outputs have `features`", wide, f"{leaf}, batch {batch}")


_SETTINGS = (
    {"reverse": False},
    {"reverse": True},
    {"reverse": False, "truncate": 2, "checkpoint_every": 3},
    {"reverse": True, "truncate": 3, "checkpoint_every": 2},
)


def _check_against_loop(case: Case, method: Method | str) -> None:
    cell, params, carry = case.cell, case.params, case.carry
    loop = Loop(case)
    weights = Weights(case)
    nothing = np.zeros_like(case.resets)
    everything = np.ones_like(case.mask)

    plain = with_gradient(cell, weights, method=method)
    result = plain(params, carry, case.xs)
    law = "scan = loop over step, values and gradients"
    case.expect(law, result, loop.run(case.xs, everything, nothing, weights))
    _check_stream(case, method, plain, result)

    for setting in _SETTINGS:
        run = with_gradient(cell, weights, method=method, **setting)
        for masked in (False, True):
            mask = case.mask if masked else everything
            xs = poison(case.xs, mask)
            options = ", ".join(f"{name}={value}" for name, value in setting.items())
            law = f"scan = loop with resets{' and masks' if masked else ''}, {options}"
            result = run(params, carry, xs, mask=mask, resets=case.resets)
            case.expect(law, result, loop.run(xs, mask, case.resets, weights, **setting))
        case.require("one trace for all values", run._cache_size() == 1, "it traced again")
        if setting == {"reverse": False}:
            _check_batches(case, method, result["carry"], result["ys"])
        if setting == {"reverse": True}:
            carries = trajectory(
                cell,
                params,
                case.xs,
                carry,
                mask=case.mask,
                resets=case.resets,
                reverse=True,
                method=method,
            )
            law = "the trajectory ends in the carry"
            case.expect(law, steps_of(carries, 0), result["carry"])


def _check_stream(case: Case, method: Method | str, plain: Any, result: dict) -> None:
    cell, params, xs = case.cell, case.params, case.xs
    cut = 3
    half, first = scan(cell, params, steps_of(xs, slice(0, cut)), case.carry, method=method)
    end, second = scan(cell, params, steps_of(xs, slice(cut, STEPS)), half, method=method)
    case.expect(
        "a split with the carry handed on = one scan",
        (end, jax.tree.map(lambda *parts: np.concatenate(parts, 1), first, second)),
        (result["carry"], result["ys"]),
    )
    changed = jax.tree.map(np.copy, xs)
    for leaf in jax.tree.leaves(changed):
        leaf[:, cut] += 1
    other = plain(params, case.carry, changed)["ys"]
    before = slice(0, cut)
    case.expect("causal", steps_of(other, before), steps_of(result["ys"], before), 0.0)

    lengths = np.array([STEPS, 4, 1, 0])
    prefix = np.arange(STEPS) < lengths[:, None]
    poisoned = poison(xs, prefix)
    by_length = scan(cell, params, poisoned, case.carry, lengths=lengths, method=method)
    by_mask = scan(cell, params, poisoned, case.carry, mask=prefix, method=method)
    case.expect("lengths = mask of a prefix", by_length, by_mask, 0.0)
    law = "a row of length 0 keeps its carry"
    case.expect(law, row_of(by_length[0], 3), row_of(case.carry, 3), 0.0)


def _check_whole_sequences(case: Case, method: Method | str) -> None:
    cell, params = case.cell, case.params
    weights = Weights(case)
    for setting in ({"reverse": False}, {"reverse": True, "checkpoint_every": 3}):
        run = with_gradient(cell, weights, method=method, **setting)
        xs = poison(case.xs, case.mask)
        got = run(params, case.carry, xs, mask=case.mask, resets=case.resets)
        # Padded = cut: each row alone, without its masked steps.
        total = None
        for row in range(ROWS):
            valid = np.flatnonzero(case.mask[row])
            if not valid.size:
                continue
            alone = with_gradient(cell, weights.of(row, valid), method=method, **setting)
            one = alone(
                params,
                row_of(case.carry, row),
                steps_of(row_of(case.xs, row), valid, axis=0),
                resets=case.resets[row, valid],
            )
            law = f"padded = cut, {setting}"
            case.expect(law, row_of(got["carry"], row), one["carry"])
            case.expect(law, steps_of(row_of(got["ys"], row), valid, axis=0), one["ys"])
            case.expect(law, row_of(got["d_carry"], row), one["d_carry"])
            case.expect(law, steps_of(row_of(got["d_xs"], row), valid, axis=0), one["d_xs"])
            gradient = one["d_params"]
            total = gradient if total is None else jax.tree.map(np.add, total, gradient)
        case.expect("padded = cut, gradient of the parameters", got["d_params"], total)
    # Reset = separate sequences. In the order of processing, a reset opens a new one.
    starts = np.zeros((ROWS, STEPS), bool)
    starts[:, 3] = True
    _, packed = scan(cell, params, case.xs, resets=starts, method=method)
    parts = [
        scan(cell, params, steps_of(case.xs, part), method=method)[1]
        for part in (slice(0, 3), slice(3, STEPS))
    ]
    joined = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *parts)
    case.expect("reset = separate sequences", packed, joined)
    options: dict[str, Any] = {"mask": case.mask, "resets": case.resets}
    whole = scan(cell, params, case.xs, case.carry, **options, method=method)
    _check_batches(case, method, *whole)


def _check_batches(case: Case, method: Method | str, *whole: PyTree) -> None:
    """`whole` is the carry and the outputs of the whole batch, with masks and resets."""
    cell, params, xs = case.cell, case.params, case.xs
    options: dict[str, Any] = {"mask": case.mask, "resets": case.resets}
    one = scan(
        cell,
        params,
        row_of(xs, 1),
        row_of(case.carry, 1),
        **{name: flags[1] for name, flags in options.items()},
        method=method,
    )
    case.expect("a row alone = the row in its batch", one, row_of(whole, 1))

    def grid(tree):
        return jax.tree.map(lambda leaf: leaf.reshape(2, ROWS // 2, *leaf.shape[1:]), tree)

    twice = scan(cell, params, grid(xs), grid(case.carry), **grid(options), method=method)
    case.expect("two batch dims = one", twice, grid(whole))
    mapped = jax.vmap(lambda x, c, o: scan(cell, params, x, c, **o, method=method))(
        xs, case.carry, options
    )
    case.expect("vmap = batch", mapped, whole)
