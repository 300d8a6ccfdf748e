"""Learning online: gradients of any cell forward in time, without unrolling."""

from seqjax.online.algorithms import eprop, rtrl, snap
from seqjax.online.learner import Learner
from seqjax.online.rank_one import RankOne, uoro
from seqjax.online.sequence_gradient import SequenceGradient, sequence_gradient
from seqjax.online.sparse_influence import SparseInfluence
from seqjax.online.updates import OnlineState, learn, start

__all__ = [
    "Learner",
    "OnlineState",
    "RankOne",
    "SequenceGradient",
    "SparseInfluence",
    "eprop",
    "learn",
    "rtrl",
    "sequence_gradient",
    "snap",
    "start",
    "uoro",
]
