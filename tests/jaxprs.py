"""The loops of a traced program: what they carry and multiply; and how large arrays are."""

from typing import Any, NamedTuple


class Loop(NamedTuple):
    """A scan in a jaxpr: the shapes and dtypes it carries and the shapes its products multiply.

    `constants` are the shapes of what it uses in every step.
    """

    constants: list[tuple[int, ...]]
    carry: list[tuple[int, ...]]
    dtypes: list[Any]
    products: list[tuple[tuple[int, ...], ...]]
    innermost: bool


def loops(jaxpr) -> list[Loop]:
    """All scans of a program, wherever they are."""
    found = []
    for eqn in jaxpr.eqns:
        inner = [j for value in eqn.params.values() for j in _jaxprs(value)]
        below = [loop for j in inner for loop in loops(j)]
        if eqn.primitive.name == "scan":
            body = eqn.params["jaxpr"].jaxpr
            given, carry = _kept(body.invars, eqn.invars), _kept(body.outvars, eqn.outvars)
            constants = [aval.shape for aval in given[: len(given) - len(carry)]]
            shapes, dtypes = [aval.shape for aval in carry], [aval.dtype for aval in carry]
            found.append(Loop(constants, shapes, dtypes, list(_products(body)), not below))
        found += below
    return found


def _kept(inside, outside):
    """Without what is cut into steps or stacked, which has one more dimension outside."""
    pairs = zip(inside, outside, strict=True)
    return [var.aval for var, outer in pairs if var.aval.ndim == outer.aval.ndim]


def array_bytes(jaxpr):
    """The size of every array that a program makes, wherever it is."""
    for eqn in jaxpr.eqns:
        for value in eqn.params.values():
            for inner in _jaxprs(value):
                yield from array_bytes(inner)
        yield from (var.aval.size * var.aval.dtype.itemsize for var in eqn.outvars)


def _jaxprs(value):
    for item in value if isinstance(value, (tuple, list)) else (value,):
        jaxpr = getattr(item, "jaxpr", item)
        if hasattr(jaxpr, "eqns"):
            yield jaxpr


def _products(jaxpr):
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield tuple(var.aval.shape for var in eqn.invars)
        elif eqn.primitive.name != "scan":
            for value in eqn.params.values():
                for inner in _jaxprs(value):
                    yield from _products(inner)
