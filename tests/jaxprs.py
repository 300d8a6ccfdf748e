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
            first = eqn.params["num_consts"]
            carry = body.invars[first : first + eqn.params["num_carry"]]
            shapes = [var.aval.shape for var in carry]
            dtypes = [var.aval.dtype for var in carry]
            constants = [var.aval.shape for var in body.invars[:first]]
            found.append(Loop(constants, shapes, dtypes, list(_products(body)), not below))
        found += below
    return found


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
