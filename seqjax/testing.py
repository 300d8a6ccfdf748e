"""The laws every cell must obey, as one call: for our cells and for anyone's."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.noise import restart, seed_carry
from seqjax.core.trees import cast
from seqjax.core.types import Array, Carry, Inputs, Params, PRNGKeyArray, PyTree
from seqjax.engines.scan import scan, trajectory

TOLERANCE = 1e-10
"""Largest difference allowed in float64, relative to the largest entry or 1."""

ROWS, STEPS = 4, 7


def check_cell(
    cell: Cell,
    in_features: int,
    *,
    inputs: Callable[[PRNGKeyArray, tuple[int, ...]], Inputs] | None = None,
    methods: Sequence[str] = ("plain",),
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
      methods: names of the execution paths to check.
      seed: for parameters and inputs.

    Raises:
      AssertionError: naming the cell, the law, and by how much it fails.

    Example:
      >>> import seqjax as sj
      >>> from seqjax.testing import check_cell
      >>> check_cell(sj.minimal_gated(3), in_features=2)
    """
    with jax.enable_x64(True):
        case = _make_case(cell, in_features, inputs, seed)
        _check_step(case)
        for method in methods:
            if cell.causal:
                _check_against_loop(case, method)
            else:
                _check_whole_sequences(case, method)


@dataclasses.dataclass(frozen=True)
class _Case:
    cell: Cell
    params: Params
    carry: Carry
    xs: Inputs
    mask: np.ndarray
    resets: np.ndarray
    random: np.random.Generator

    def expect(self, law: str, got: PyTree, wanted: PyTree, tolerance: float = TOLERANCE):
        """Compares the arrays of two trees."""
        got_leaves, wanted_leaves = _arrays(got), _arrays(wanted)
        self.require(law, len(got_leaves) == len(wanted_leaves), "structures differ")
        for a, b in zip(got_leaves, wanted_leaves, strict=True):
            self.require(law, a.shape == b.shape, f"shapes {a.shape} and {b.shape}")
            if not a.size:
                continue
            self.require(law, bool(np.isfinite(a).all()), "a value is NaN or inf")
            error = np.abs(a - b).max() / max(1.0, np.abs(b).max())
            self.require(law, error <= tolerance, f"they differ by {error:.2e}")

    def require(self, law: str, holds: bool, detail: str) -> None:
        if not holds:
            raise AssertionError(f"check_cell({self.cell}): law broken: {law}: {detail}.")


def _make_case(cell, in_features, inputs, seed) -> _Case:
    key = jax.random.key(seed)
    random = np.random.default_rng(seed)

    def disturb(tree: PyTree) -> PyTree:
        """Values that start as zeros or ones would hide mistakes in how they are used."""
        return jax.tree.map(
            lambda leaf: (
                np.asarray(leaf) + 0.3 * random.standard_normal(leaf.shape)
                if _is_float(leaf)
                else leaf
            ),
            tree,
        )

    params = disturb(cast(cell.init(key, in_features), jnp.float64))
    if inputs is None:
        xs = random.standard_normal((ROWS, STEPS, in_features))
    else:
        xs = disturb(inputs(key, (ROWS, STEPS)))
    carry = disturb(seed_carry(cell.initial_carry(params, (ROWS,)), key))
    # Rows: all steps; padding; holes with a reset under one; nothing. Resets at both ends.
    mask = np.ones((ROWS, STEPS), bool)
    mask[1, 4:] = False
    mask[2, [0, 2, 3]] = False
    mask[3] = False
    resets = np.zeros((ROWS, STEPS), bool)
    resets[0, [0, 3, 6]] = True
    resets[1, 2] = True
    resets[2, [2, 4]] = True
    resets[3, 1] = True
    return _Case(cell, params, carry, xs, mask, resets, random)


def _check_step(case: _Case) -> None:
    cell, law = case.cell, "step keeps the form of the carry"
    hash(cell)
    for batch in ((), (2,), (2, 3)):
        for dtype in (jnp.float32, jnp.bfloat16, jnp.float64):
            params = cast(case.params, dtype)
            carry = jax.eval_shape(lambda p, b=batch: cell.initial_carry(p, b), params)
            x = jax.tree.map(
                lambda leaf, b=batch, d=dtype: jax.ShapeDtypeStruct(
                    (*b, *leaf.shape[2:]), d if _is_float(leaf) else leaf.dtype
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


def _check_against_loop(case: _Case, method: str) -> None:
    cell, params, carry = case.cell, case.params, case.carry
    loop = _Loop(case)
    weights = _Weights(case)
    nothing = np.zeros_like(case.resets)
    everything = np.ones_like(case.mask)

    plain = _with_gradient(cell, weights, method=method)
    result = plain(params, carry, case.xs)
    law = "scan = loop over step, values and gradients"
    case.expect(law, result, loop.run(case.xs, everything, nothing, weights))
    _check_stream(case, method, plain, result)

    for setting in _SETTINGS:
        run = _with_gradient(cell, weights, method=method, **setting)
        for masked in (False, True):
            mask = case.mask if masked else everything
            xs = _poison(case.xs, mask)
            options = ", ".join(f"{name}={value}" for name, value in setting.items())
            law = f"scan = loop with resets{' and masks' if masked else ''}, {options}"
            result = run(params, carry, xs, mask=mask, resets=case.resets)
            case.expect(law, result, loop.run(xs, mask, case.resets, weights, **setting))
        case.require("one trace for all values", run._cache_size() == 1, "it traced again")
        if setting == {"reverse": False}:
            _check_batches(case, method, result["carry"], result["ys"])
        if setting == {"reverse": True}:
            carries = trajectory(
                cell, params, case.xs, carry, mask=case.mask, resets=case.resets, **setting
            )
            law = "the trajectory ends in the carry"
            case.expect(law, _time(carries, 0), result["carry"])


def _check_stream(case: _Case, method: str, plain: Any, result: dict) -> None:
    cell, params, xs = case.cell, case.params, case.xs
    cut = 3
    half, first = scan(cell, params, _time(xs, slice(0, cut)), case.carry, method=method)
    end, second = scan(cell, params, _time(xs, slice(cut, STEPS)), half, method=method)
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
    case.expect("causal", _time(other, before), _time(result["ys"], before), 0.0)

    lengths = np.array([STEPS, 4, 1, 0])
    prefix = np.arange(STEPS) < lengths[:, None]
    poisoned = _poison(xs, prefix)
    by_length = scan(cell, params, poisoned, case.carry, lengths=lengths, method=method)
    by_mask = scan(cell, params, poisoned, case.carry, mask=prefix, method=method)
    case.expect("lengths = mask of a prefix", by_length, by_mask, 0.0)
    law = "a row of length 0 keeps its carry"
    case.expect(law, _row(by_length[0], 3), _row(case.carry, 3), 0.0)


def _check_whole_sequences(case: _Case, method: str) -> None:
    cell, params = case.cell, case.params
    weights = _Weights(case)
    for setting in ({"reverse": False}, {"reverse": True, "checkpoint_every": 3}):
        run = _with_gradient(cell, weights, method=method, **setting)
        xs = _poison(case.xs, case.mask)
        got = run(params, case.carry, xs, mask=case.mask, resets=case.resets)
        # Padded = cut: each row alone, without its masked steps.
        total = None
        for row in range(ROWS):
            valid = np.flatnonzero(case.mask[row])
            if not valid.size:
                continue
            alone = _with_gradient(cell, weights.of(row, valid), method=method, **setting)
            one = alone(
                params,
                _row(case.carry, row),
                _time(_row(case.xs, row), valid, axis=0),
                resets=case.resets[row, valid],
            )
            law = f"padded = cut, {setting}"
            case.expect(law, _row(got["carry"], row), one["carry"])
            case.expect(law, _time(_row(got["ys"], row), valid, axis=0), one["ys"])
            case.expect(law, _row(got["d_carry"], row), one["d_carry"])
            case.expect(law, _time(_row(got["d_xs"], row), valid, axis=0), one["d_xs"])
            gradient = one["d_params"]
            total = gradient if total is None else jax.tree.map(np.add, total, gradient)
        case.expect("padded = cut, gradient of the parameters", got["d_params"], total)
    # Reset = separate sequences. In the order of processing, a reset opens a new one.
    starts = np.zeros((ROWS, STEPS), bool)
    starts[:, 3] = True
    _, packed = scan(cell, params, case.xs, resets=starts, method=method)
    parts = [
        scan(cell, params, _time(case.xs, part), method=method)[1]
        for part in (slice(0, 3), slice(3, STEPS))
    ]
    joined = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *parts)
    case.expect("reset = separate sequences", packed, joined)
    options = {"mask": case.mask, "resets": case.resets}
    whole = scan(cell, params, case.xs, case.carry, **options, method=method)
    _check_batches(case, method, *whole)


def _check_batches(case: _Case, method: str, *whole: PyTree) -> None:
    """`whole` is the carry and the outputs of the whole batch, with masks and resets."""
    cell, params, xs = case.cell, case.params, case.xs
    options = {"mask": case.mask, "resets": case.resets}
    one = scan(
        cell,
        params,
        _row(xs, 1),
        _row(case.carry, 1),
        **{name: flags[1] for name, flags in options.items()},
        method=method,
    )
    case.expect("a row alone = the row in its batch", one, _row(whole, 1))

    def grid(tree):
        return jax.tree.map(lambda leaf: leaf.reshape(2, ROWS // 2, *leaf.shape[1:]), tree)

    twice = scan(cell, params, grid(xs), grid(case.carry), **grid(options), method=method)
    case.expect("two batch dims = one", twice, grid(whole))
    mapped = jax.vmap(lambda x, c, o: scan(cell, params, x, c, **o, method=method))(
        xs, case.carry, options
    )
    case.expect("vmap = batch", mapped, whole)


class _Weights:
    """Random cotangents: the loss is the inner product of the results with them."""

    def __init__(self, case: _Case):
        shapes = jax.eval_shape(
            lambda p, c, x: scan(case.cell, p, x, c), case.params, case.carry, case.xs
        )
        carry, ys = shapes
        self.ys, self.carry = jax.tree.map(
            lambda leaf: case.random.standard_normal(leaf.shape), (ys, _floats(carry))
        )

    def of(self, row: int, steps: np.ndarray) -> "_Weights":
        part = object.__new__(_Weights)
        part.ys = _time(_row(self.ys, row), steps, axis=0)
        part.carry = _row(self.carry, row)
        return part

    def loss(self, carry: Carry, ys: PyTree) -> Array:
        pairs = zip(
            [*jax.tree.leaves(self.ys), *self.carry],
            [*jax.tree.leaves(ys), *_floats(carry)],
            strict=True,
        )
        return sum(((weight * value).sum() for weight, value in pairs), jnp.zeros(()))


def _with_gradient(cell: Cell, weights: _Weights, **setting: Any):
    """A compiled scan that also returns the gradients of the weighted sum of its results."""

    def run(params, carry, xs, mask=None, resets=None):
        def loss(parts):
            p, c, x = (
                _put_floats(tree, part)
                for tree, part in zip((params, carry, xs), parts, strict=True)
            )
            end, ys = scan(cell, p, x, c, mask=mask, resets=resets, **setting)
            return weights.loss(end, ys), (end, ys)

        parts = tuple(map(_floats, (params, carry, xs)))
        gradients, (end, ys) = jax.grad(loss, has_aux=True)(parts)
        names = ("d_params", "d_carry", "d_xs")
        return {"carry": end, "ys": ys, **dict(zip(names, gradients, strict=True))}

    return jax.jit(run)


class _Loop:
    """Backpropagation through time by hand: a Python loop over single steps, row by row."""

    def __init__(self, case: _Case):
        self.case = case
        cell = case.cell
        self.step = jax.jit(cell.step)
        self.restart = jax.jit(lambda start, now: restart(jnp.array(True), start, now))

        @jax.jit
        def step_vjp(params, carry, x, d_carry, d_y):
            def step(p, c, x_):
                new, y = cell.step(
                    _put_floats(params, p), _put_floats(carry, c), _put_floats(x, x_)
                )
                return _floats(new), y

            parts = tuple(map(_floats, (params, carry, x)))
            return jax.vjp(step, *parts)[1]((d_carry, d_y))

        @jax.jit
        def start_vjp(params, d_initial):
            def start(p):
                return _floats(cell.initial_carry(_put_floats(params, p)))

            return jax.vjp(start, _floats(params))[1](d_initial)[0]

        self.step_vjp, self.start_vjp = step_vjp, start_vjp

    def run(self, xs, mask, resets, weights, *, reverse=False, truncate=None, **_) -> dict:
        rows = [
            self._row(row, _row(xs, row), mask[row], resets[row], weights, reverse, truncate)
            for row in range(ROWS)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        stacked["d_params"] = jax.tree.map(lambda leaf: leaf.sum(0), stacked["d_params"])
        return stacked

    def _row(self, row, xs, valid, resets, weights, reverse, truncate) -> dict:
        params = self.case.params
        carry = _row(self.case.carry, row)
        initial = self.case.cell.initial_carry(params)
        ys = jax.tree.map(lambda leaf: np.zeros_like(leaf[row]), weights.ys)
        d_xs = [np.zeros_like(leaf) for leaf in _floats(xs)]
        order = range(STEPS)[::-1] if reverse else range(STEPS)
        tape = []
        for t in (t for t in order if valid[t]):
            cut = bool(truncate and tape) and len(tape) % truncate == 0
            start = self.restart(initial, carry) if resets[t] else carry
            x = _time(xs, t, axis=0)
            carry, y = self.step(params, start, x)
            for all_ys, one in zip(jax.tree.leaves(ys), jax.tree.leaves(y), strict=True):
                all_ys[t] = one
            tape.append((t, start, x, cut))

        d_params = [np.zeros_like(leaf) for leaf in _floats(params)]
        d_carry = [leaf[row] for leaf in weights.carry]
        for t, start, x, cut in reversed(tape):
            d_y = jax.tree.map(lambda leaf, t=t: leaf[row, t], weights.ys)
            more, d_start, d_x = self.step_vjp(params, start, x, d_carry, d_y)
            if resets[t]:
                more = jax.tree.map(np.add, more, self.start_vjp(params, d_start))
            d_params = jax.tree.map(np.add, d_params, more)
            for all_d, one in zip(d_xs, d_x, strict=True):
                all_d[t] = one
            stops = resets[t] or cut
            d_carry = [np.zeros_like(leaf) for leaf in d_start] if stops else d_start
        carry = jax.tree.map(_numbers, carry)
        return {
            "carry": carry,
            "ys": ys,
            "d_params": d_params,
            "d_carry": d_carry,
            "d_xs": d_xs,
        }


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _floats(tree: PyTree) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]


def _put_floats(tree: PyTree, floats: list[Array]) -> PyTree:
    """The tree with its floating-point leaves replaced, in order."""
    new = iter(floats)
    return jax.tree.map(lambda leaf: next(new) if _is_float(leaf) else leaf, tree)


def _arrays(tree: PyTree) -> list[np.ndarray]:
    return [_numbers(leaf) for leaf in jax.tree.leaves(tree)]


def _numbers(leaf: Any) -> np.ndarray:
    """The leaf in NumPy, keys as the numbers behind them."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf, np.float64)


def _row(tree: PyTree, row: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[row], tree)


def _time(tree: PyTree, index: Any, axis: int = 1) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index] if axis == 0 else leaf[:, index], tree)


def _poison(xs: Inputs, mask: np.ndarray) -> Inputs:
    """NaN at the masked steps."""

    def fill(leaf):
        if not _is_float(leaf):
            return leaf
        flags = mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
        return np.where(flags, leaf, np.nan)

    return jax.tree.map(fill, xs)
