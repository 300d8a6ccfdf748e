"""Records that an exported program may take and return when it is written to a file."""

from typing import TypeVar

from jax import export

Record = TypeVar("Record", bound=type)


def exportable(record: Record) -> Record:
    """A class of NamedTuples, made known to the serialization of `jax.export`.

    `exported.serialize()` names the structure of arguments and results, so it must know every
    class in it. For a state of your own call `jax.export.register_namedtuple_serialization`.
    """
    name = f"seqjax.{record.__name__}"
    export.register_namedtuple_serialization(record, serialized_name=name)
    return record
