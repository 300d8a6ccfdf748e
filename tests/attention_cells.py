"""Cells with attention for the table: with a memory among their parameters from the start."""

import dataclasses

import jax
import jax.numpy as jnp

import seqjax as sj


def _with_memory(cell, width):
    def init(key, in_features):
        own, drawn = jax.random.split(key)
        values = jax.random.normal(drawn, (4, width))
        valid = jnp.array([True, True, False, True])
        return sj.attend_to(cell.init(own, in_features), values, valid)

    return dataclasses.replace(cell, init=init)


CELLS = {
    "attentive": _with_memory(sj.attentive(sj.gru(4), 2, attention=3), 2),
    "attentive_multiplicative": _with_memory(
        sj.attentive(sj.lstm(3), 2, features=2, score="multiplicative"), 2
    ),
    "attentive_feeding": _with_memory(
        sj.attentive(sj.gru(3), 2, attention=2, input_feeding=True), 2
    ),
    "attentive_feeding_noise": sj.dropout(
        _with_memory(
            sj.attentive(
                sj.stack(sj.lstm(3), sj.gru(2)), 3, score="multiplicative", input_feeding=True
            ),
            3,
        ),
        0.4,
    ),
}
