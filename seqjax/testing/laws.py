"""The laws every cell must obey, as one call: for our cells and for anyone's."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.double_precision import double_precision
from seqjax.core.trees import is_float
from seqjax.core.types import Inputs, Params, PRNGKeyArray
from seqjax.engines.methods import Method
from seqjax.engines.scan import scan, trajectory
from seqjax.testing.case import (
    ROWS,
    STEPS,
    VALID,
    Case,
    Program,
    Weights,
    make_case,
    make_weights,
    poison,
    row_of,
    steps_of,
)
from seqjax.testing.reference import Reference


def check_cell(
    cell: Cell,
    in_features: int,
    *,
    params: Params | None = None,
    inputs: Callable[[PRNGKeyArray, tuple[int, ...]], Inputs] | None = None,
    methods: Sequence[Method | str] = ("plain", "auto"),
    thorough: bool = True,
    seed: int = 0,
) -> None:
    """Checks the laws of the contract on a cell, in float64, which a TPU leaves to its host's CPU.

    The reference is a Python loop over `cell.step`, with its gradient accumulated by hand
    from the gradient of single steps; masked steps are skipped, not computed. The laws:

    * `step` keeps the carry's structure, shapes and dtypes (in bfloat16 too), for any batch
      dims, and its output has `features`;
    * scan = loop, values and gradients (parameters, inputs, initial carry), forward and in
      reverse, with mask, resets, `truncate` and `checkpoint_every`;
    * NaN in masked steps reaches nothing; a row without valid steps returns its carry;
    * a split with the carry handed on = one scan; causal; one trace for all values;
    * reset = separate sequences; padded = cut.

    For a cell that needs the whole sequence, the last line stands in for the loop.

    These follow from the engine that runs the cell, and are checked only with `thorough`:

    * options that do not come together in the laws above: forward without any, reverse with all,
      and reverse at all, unless the cell has a `sequence` function of its own;
    * lengths = mask of a prefix; the trajectory ends in the carry;
    * a row alone = the row in its batch; two batch dims = one; `vmap` = batch.

    Args:
      cell: the cell.
      in_features: width of its inputs.
      params: in float64; by default those of `cell.init`, disturbed.
      inputs: `(key, (*batch, time)) -> xs` for cells that take something else than vectors
        of `in_features` numbers.
      methods: the ways of `sj.scan` to check, names or values such as `sj.Chunked(4)`; each must
        give the numbers of the loop. For a small matrix memory on a CPU "auto" may be the plain
        loop: name "chunked" as well.
      thorough: also check what follows from the engine. Without it, fewer programs are compiled.
      seed: for parameters and inputs.

    Raises:
      AssertionError: naming the cell, the law, and by how much it fails.

    Example:
      >>> import seqjax as sj
      >>> from seqjax.testing import check_cell
      >>> check_cell(sj.minimal_gated(3), in_features=2)
    """
    with double_precision() as place:
        case = make_case(cell, in_features, inputs, seed, place(params))
        _check_step(case)
        weights = make_weights(case)
        reference = Reference(case)
        for method in methods:
            if cell.causal:
                _check_against_reference(case, weights, reference, method, thorough)
            else:
                _check_whole_sequences(case, weights, method, thorough)
            if thorough:
                _check_batches(case, method)


_FORMS = (
    ((), jnp.float64),
    ((), jnp.bfloat16),
    ((2,), jnp.float32),
    ((2,), jnp.bfloat16),
    ((2, 3), jnp.float64),
)


def _check_step(case: Case) -> None:
    cell, law = case.cell, "step keeps the form of the carry"
    hash(cell)

    def form(tree, dtype, shape=lambda leaf: leaf.shape):
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(shape(leaf), dtype if is_float(leaf) else leaf.dtype),
            tree,
        )

    for batch, dtype in _FORMS:

        def start_and_step(params, x, batch=batch):
            carry = cell.initial_carry(params, batch)
            return carry, cell.step(params, carry, x) if cell.causal else None

        x = form(case.xs, dtype, lambda leaf, batch=batch: (*batch, *leaf.shape[2:]))
        carry, after = jax.eval_shape(start_and_step, form(case.params, dtype), x)
        for leaf in jax.tree.leaves(carry):
            case.require(law, leaf.shape[: len(batch)] == batch, f"{leaf} for {batch}")
        if after is None:
            continue
        new, y = after
        same = jax.tree.structure(new) == jax.tree.structure(carry)
        case.require(law, same, f"{carry} became {new}")
        for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(new), strict=True):
            kept = a.shape == b.shape and a.dtype == b.dtype
            case.require(law, kept, f"with {dtype.__name__}, {a} became {b}")
        for leaf in jax.tree.leaves(y):
            wide = leaf.shape[: len(batch)] == batch and leaf.shape[-1] == cell.features
            case.require("outputs have `features`", wide, f"{leaf}, batch {batch}")
            fits = leaf.ndim == len(batch) + cell.output_ndim
            case.require("outputs have `output_ndim`", fits, f"{leaf}, batch {batch}")


def _check_against_reference(
    case: Case, weights: Weights, reference: Reference, method: Method | str, thorough: bool
) -> None:
    everything, nothing = np.ones_like(case.mask), np.zeros_like(case.resets)
    masked = poison(case.xs, case.mask)

    def check(bare: bool, **options: Any) -> Program:
        run = Program(case.cell, weights, method=method, **options)
        told = ", ".join(f"{name}={value}" for name, value in options.items())
        law = f"scan = loop{'' if bare else ' with resets and masks'}{', ' * bool(told)}{told}"
        if bare:
            result = run(case.params, case.carry, case.xs)
            wanted = reference.run(case.xs, everything, nothing, weights, **options)
        else:
            flags = case.mask, case.resets
            result = run(case.params, case.carry, masked, *flags)
            wanted = reference.run(masked, *flags, weights, **options)
        case.expect(f"{law}, values and gradients", result, wanted)
        return run

    # Together: either direction; with masks and resets and without; gradients cut and whole.
    _check_stream(case, check(bare=False, truncate=3))
    # Of a cell that says nothing of sequences, the engine alone turns the direction around.
    if thorough or case.cell.sequence is not None:
        check(bare=True, reverse=True)
    if thorough:
        check(bare=True)
        check(bare=False, reverse=True, truncate=2, checkpoint_every=3)


def _check_stream(case: Case, run: Program) -> None:
    """What can be said with one program, of masks and resets: these are data."""
    params, xs = case.params, case.xs
    cut = 3
    early = np.broadcast_to(np.arange(STEPS) < cut, case.mask.shape)
    whole = run(params, case.carry, xs, case.mask, case.resets)
    law = "a row without valid steps keeps its carry"
    empty = ~case.mask.any(1)
    case.expect(law, row_of(whole["carry"], empty), row_of(case.carry, empty), 0.0)

    first = run(params, case.carry, xs, case.mask & early, case.resets)
    second = run(params, first["carry"], xs, case.mask & ~early, case.resets)
    case.expect(
        "a split with the carry handed on = one scan",
        (second["carry"], jax.tree.map(np.add, first["ys"], second["ys"])),
        (whole["carry"], whole["ys"]),
    )
    changed = jax.tree.map(np.copy, xs)
    for leaf in jax.tree.leaves(changed):
        leaf[:, cut] += 1
    flags = np.ones_like(case.mask), np.zeros_like(case.resets)
    one, other = (run(params, case.carry, x, *flags)["ys"] for x in (xs, changed))
    before = slice(0, cut)
    case.expect("causal", steps_of(other, before), steps_of(one, before), 0.0)
    case.require("one trace for all values", run.traces == 1, "it traced again")


def _check_whole_sequences(
    case: Case, weights: Weights, method: Method | str, thorough: bool
) -> None:
    # Rows that are as long as each other without their masked steps.
    rows = np.array([row for row, steps in VALID.items() if len(steps) == 4])
    valid = np.array([VALID[row] for row in rows])
    those = np.isin(np.arange(ROWS), rows)

    def cut(tree):
        return jax.tree.map(lambda leaf: leaf[rows[:, None], valid], tree)

    def only(leaf, where):
        return leaf * where.reshape(where.shape + (1,) * (leaf.ndim - where.ndim))

    counted = Weights(
        jax.tree.map(lambda leaf: only(leaf, case.mask & those[:, None]), weights.ys),
        [only(leaf, those) for leaf in weights.carry],
    )
    short = Weights(cut(weights.ys), row_of(weights.carry, rows))
    for options in ({"reverse": False}, {"reverse": True, "checkpoint_every": 3})[: 1 + thorough]:
        run = Program(case.cell, weights, method=method, **options)
        masked = poison(case.xs, case.mask)
        flags = case.mask, case.resets
        got = run(case.params, case.carry, masked, *flags, counted)
        alone = run(
            case.params,
            row_of(case.carry, rows),
            cut(case.xs),
            resets=cut(case.resets),
            weights=short,
        )
        law = f"padded = cut, {options}"
        case.expect(law, got["d_params"], alone["d_params"])
        for name in ("carry", "d_carry"):
            case.expect(law, row_of(got[name], rows), alone[name])
        for name in ("ys", "d_xs"):
            case.expect(law, cut(got[name]), alone[name])
        empty = ~case.mask.any(1)
        law = "a row without valid steps keeps its carry"
        case.expect(law, row_of(got["carry"], empty), row_of(case.carry, empty), 0.0)

        # Reset = separate sequences. In the order of processing, a reset opens a new one.
        early = np.broadcast_to(np.arange(STEPS) < 3, case.mask.shape)
        everything, nothing = np.ones_like(case.mask), np.zeros_like(case.resets)
        starts = nothing.copy()
        starts[:, 2 if options["reverse"] else 3] = True
        packed, left, right = (
            run(case.params, case.initial, case.xs, *flags)["ys"]
            for flags in ((everything, starts), (early, nothing), (~early, nothing))
        )
        case.expect("reset = separate sequences", packed, jax.tree.map(np.add, left, right))


def _check_batches(case: Case, method: Method | str) -> None:
    """Lengths, batch dims and `vmap`: values, with masks and resets."""
    lengths = np.array([STEPS, 4, 1, 0] * (ROWS // 4))
    flags = {"mask": case.mask, "resets": case.resets}

    def grid(tree):
        return jax.tree.map(lambda leaf: leaf.reshape(2, ROWS // 2, *leaf.shape[1:]), tree)

    @jax.jit
    def run(params, xs, ended, carry, flags, lengths, prefix):
        def of(xs, carry, **flags):
            return scan(case.cell, params, xs, carry, **flags, method=method)

        return {
            "whole": of(xs, carry, **flags),
            "one": of(row_of(xs, 1), row_of(carry, 1), **row_of(flags, 1)),
            "grid": of(grid(xs), grid(carry), **grid(flags)),
            "mapped": jax.vmap(lambda x, c, f: of(x, c, **f))(xs, carry, flags),
            "by length": of(ended, carry, lengths=lengths),
            "by mask": of(ended, carry, mask=prefix),
        }

    prefix = np.arange(STEPS) < lengths[:, None]
    masked, ended = (poison(case.xs, mask) for mask in (case.mask, prefix))
    got = run(case.params, masked, ended, case.carry, flags, lengths, prefix)
    whole = got["whole"]
    case.expect("a row alone = the row in its batch", got["one"], row_of(whole, 1))
    case.expect("two batch dims = one", got["grid"], grid(whole))
    case.expect("vmap = batch", got["mapped"], whole)
    case.expect("lengths = mask of a prefix", got["by length"], got["by mask"])
    if case.cell.causal:
        reverse = {**flags, "reverse": True, "method": method}
        carries = trajectory(case.cell, case.params, case.xs, case.carry, **reverse)
        end, _ = scan(case.cell, case.params, case.xs, case.carry, **reverse)
        case.expect("the trajectory ends in the carry", steps_of(carries, 0), end)
