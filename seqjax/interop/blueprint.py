"""A published model without its weights: what builds it again, and writes it as it came."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.core.trees import cast
from seqjax.core.types import DTypeLike
from seqjax.interop.conversion import leaves
from seqjax.interop.families import FAMILIES
from seqjax.interop.loaded import Loaded
from seqjax.interop.table import Family, to_save


@dataclasses.dataclass(frozen=True)
class Published:
    """The family, the config and the names of the weights of a loaded model.

    Args:
      family: its table.
      config: what `config.json` said.
      arrays: shapes and dtypes of its arrays, by their name in the file.

    Example:
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "state_size": 2}
      >>> fresh = sj.interop.build({"model_type": "mamba", **sizes}, rngs=nnx.Rngs(0))
      >>> published = sj.interop.Published.of(fresh)
      >>> again = sj.interop.Published.from_json(published.to_json())
      >>> again.build(nnx.Rngs(0)).embedding.embedding.shape
      (11, 4)
    """

    family: Family
    config: Mapping[str, Any]
    arrays: Mapping[str, jax.ShapeDtypeStruct]

    @classmethod
    def of(cls, loaded: Loaded) -> "Published":
        """That of a loaded model."""
        return cls(loaded.family, loaded.config, loaded.arrays)

    def to_json(self) -> dict[str, Any]:
        """As a part of a JSON document."""
        arrays = {name: [*one.shape, str(one.dtype)] for name, one in self.arrays.items()}
        return {"family": self.family.name, "config": dict(self.config), "arrays": arrays}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Published":
        """What `to_json` gave.

        Raises:
          InputError: if there is no such family in this version.
        """
        named = {family.name: family for family in FAMILIES}
        if saved["family"] not in named:
            raise InputError(
                f"The model is of the family {saved['family']!r} of published weights, which this "
                f"seqjax does not have; it has {', '.join(named)}."
            )
        arrays = {
            name: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
            for name, (*shape, dtype) in saved["arrays"].items()
        }
        return cls(named[saved["family"]], saved["config"], arrays)

    def build(self, rngs: nnx.Rngs) -> Any:
        """A new model of this kind, in float32."""
        return self.family.build(self._completed, self._shapes, rngs)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        """The model in another dtype, but for what the table keeps in float32 at least."""
        wide = jnp.promote_types(dtype, jnp.float32)
        kept = {
            path
            for one in to_save(self.family, self._completed, leaves(model))
            if one.rule.float32
            for path in one.ours
        }
        marks = jax.tree.map(lambda leaf: False, model)
        for path, leaf in leaves(marks).items():
            leaf.set_value(path in kept)
        return jax.tree.map(lambda leaf, keep: cast(leaf, wide if keep else dtype), model, marks)

    def with_weights(self, model: Any) -> Loaded:
        """A model of this kind as `sj.interop.save` takes it, with the dtypes in which it came."""
        return Loaded(model, self.family, self.config, arrays=self.arrays)

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: one.shape for name, one in self.arrays.items()}

    @property
    def _completed(self) -> dict[str, Any]:
        return self.family.complete(self.config, self._shapes)
