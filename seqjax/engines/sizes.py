"""All sizes and thresholds that engines go by unless a method names its own, for each backend.

Those of CPUs were measured on two cores with AVX-512, in float32; tables are in
`docs/measured/bench.md`. Those of TPUs are from the compiler for a v5e. Where GPU and TPU say the
same as CPU, nothing was measured on them.
Bytes are of one device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax

PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}
"""What `jax.export` calls the platforms of the columns below."""

_chosen: ContextVar[str | None] = ContextVar("platform", default=None)


@contextmanager
def chosen_for(platform: str | None) -> Iterator[None]:
    """What is traced inside goes by the sizes for a platform of `PLATFORMS`; None for the one at
    hand."""
    before = _chosen.set(None if platform is None else PLATFORMS[platform])
    try:
        yield
    finally:
        _chosen.reset(before)


class Size(NamedTuple):
    """One number for each kind of device."""

    cpu: int
    gpu: int
    tpu: int

    @property
    def here(self) -> int:
        """That of the platform which the program is for: `chosen_for`."""
        return self._asdict().get(_chosen.get() or jax.default_backend(), self.gpu)


# Gated cells: `gated_steps.py`.

GATES_STORED = Size(cpu=2**22, gpu=2**22, tpu=2**22)
"""Bytes of the gates of a sequence that are stored rather than computed again. Storing is 0 to 10 %
faster and takes twice the memory, which is little up to 4 MB."""

GATES_OF_TILE = Size(cpu=2**20, gpu=2**24, tpu=2**23)
"""Bytes of the gates of a tile: a working set that stays in the cache of a core. Up to
`GATES_STORED` one tile is faster still, having the fewest kernels (lstm 1000, 1, 64, 128: 8.8 ms
instead of 12 with tiles of 50); 1 MB won at 256, 32, 128, 256 and 512, 48, 256, 384. A TPU starts
each fusion for about 2,000 cycles, and 8 MB still lie in VMEM: lstm 1024, 32, 768, 768 in bfloat16
takes 47 million cycles instead of 52, more than 8 MB none fewer. On a GPU launches are the time: by
the compiler for an H100 the same step takes 11.2 of them in float32, 12.3 with tiles of 8 MB."""

TILE_SHARE = Size(cpu=2, gpu=1, tpu=1)
"""How many times smaller tiles are where several devices share cache and memory, as CPU devices do:
0.76 instead of 1.0 of Haiku's time at 200, 16, 32, 64 on two."""

TILE_ROWS = Size(cpu=384, gpu=384, tpu=384)
"""Rows of all steps of a tile, at least: fewer make slow products of weight gradients. Tiles of 8
to 32 steps won from 256 features on."""

ROWS_OF_FORWARD_TILES = Size(cpu=1, gpu=1, tpu=1)
"""Sequences, at most, for which the input products of a tile are one where no gradient is asked
for. With more, each step makes its own, one with the recurrent product where gates see the sum: of
Haiku's speed at 64, 8, 32, 64 and 200, 16, 32, 64 lstm has 0.98 and 0.97 so, with tiles of 8 steps
0.87 and 0.86. One sequence reads all weights at every step: 0.99, with tiles 1.19 at 1000, 1, 64,
128."""

GATES_OF_FORWARD_TILE = Size(cpu=2**16, gpu=2**16, tpu=2**16)
"""Bytes of the gates of such a tile."""

WIDE_GATE = Size(cpu=256, gpu=2**30, tpu=2**30)
"""Features from which on, with the batch split over several devices and no gradient asked for, each
gate has a product of its own. CPU devices share their threads, and a large product of each is cut
up for all of them: gru at 256, 32, 128, 256 on two had 0.78 of the speed of Flax, by gate 0.90."""

# Gated cells with kernels for their loops: `fused/fused_steps.py`.

WEIGHTS_OF_KERNEL = Size(cpu=0, gpu=0, tpu=3 * 2**24)
"""Bytes of parameters that a kernel may hold in VMEM (128 MB on a v5e); larger cells go by
`lax.scan`. On other devices a kernel is only interpreted."""

GATES_OF_KERNEL = Size(cpu=2**20, gpu=2**20, tpu=2**25)
"""Bytes of the gates of a tile, which is one kernel. By the compiler for a v5e, lstm at 1024, 32,
768, 768 in bfloat16 takes 24.4, 22.0, 20.8 million cycles and 238, 316, 440 MB with tiles of 64,
128, 256 steps."""

GATES_OF_BLOCK = Size(cpu=2**20, gpu=2**20, tpu=2**20)
"""Bytes of the gates of steps that move together."""

# Any step: `any_steps.py`.

STEPS_OF_TILE = Size(cpu=2**22, gpu=2**22, tpu=2**22)
"""Bytes that the steps of a tile make, which are computed again at once."""

FEWEST_STEPS_OF_TILE = Size(cpu=8, gpu=8, tpu=8)
"""Steps of a tile whose steps are large, but not beside the gradients that every tile adds up."""

# Cells that are linear in their state: `diagonal.py`.

STEP_BY_STEP = Size(cpu=1, gpu=0, tpu=0)
"""Whether one step after the other is fastest. On a CPU a step costs little beyond its arithmetic,
of which an associative scan makes twice as much: 1.5 against 3.8 ms at 512, 8, 256, and 1.4 against
6.6 at 4096, 1, 256."""

STATES_OF_BLOCK = Size(cpu=0, gpu=0, tpu=2**20)
"""Bytes of states that a kernel moves together, 0 where it would only be interpreted."""

STATES_STORED = Size(cpu=2**23, gpu=2**28, tpu=2**28)
"""Bytes of inputs and states of a sequence that is one tile, so that nothing is computed again. On
a CPU one tile was 0.9 to 1.5 times as fast as several up to 8 MB; at 16 MB lru lost a third.
Elsewhere a tile may fill the device."""

STATES_OF_TILE = Size(cpu=2**20, gpu=2**28, tpu=2**28)
"""Bytes of inputs and states of a tile of longer ones: the cache of a core, or what fills a device.
On a CPU tiles of 32 to 128 steps were level."""

FEWEST_LINEAR_STEPS = Size(cpu=16, gpu=16, tpu=16)
"""Steps of such a tile, at least: fewer make slow products."""

# Matrix memories: `chunkwise.py`, `matrix_tile.py`.

SHORT = Size(cpu=4, gpu=4, tpu=4)
"""Sequences, or stretches between two cuts, that are shorter than this go step by step."""

CHUNK = Size(cpu=64, gpu=64, tpu=64)
"""Steps of a chunk, at most. What a step costs in a chunk grows with the chunk, and to hand a
memory on costs as much as it is large. Chunks of 64: 170 ms where a loop over steps takes 1539
(4 rows of 4096 steps, 4 heads of 64 x 64); chunks of 32 or 128 were no faster."""

NARROW_CHUNK = Size(cpu=32, gpu=32, tpu=32)
"""The same where the memory of a head has fewer numbers than `WIDE_HEAD`."""

WIDE_HEAD = Size(cpu=2048, gpu=2048, tpu=2048)
"""Numbers of the memory of a head that pays for chunks of `CHUNK` steps: with chunks of 32 and 64
steps, delta_net at 2048, 1 was 4.5 and 4.9 times as fast as single steps where heads are 64 x 64,
1.05 and 0.86 times where they are 16 x 16."""

SMALL_HEAD = Size(cpu=320, gpu=0, tpu=0)
"""Memories whose heads have at most this many numbers go step by step: on a CPU that costs less
than a step's share of a chunk. Heads of 8 x 8 took 40 ms, in chunks 108; at 512 numbers it was
even."""

SMALL_MEMORY = Size(cpu=1024, gpu=0, tpu=0)
"""So do those of at most this many numbers, of all heads and rows, that are corrected, or forget
each channel by itself."""

FEWEST_STEPS_TOGETHER = Size(cpu=16, gpu=16, tpu=16)
"""Steps of a tile that goes step by step, at least."""

MEMORIES_STORED = Size(cpu=2**25, gpu=2**25, tpu=2**25)
"""Bytes of a sequence that is one tile: nothing is computed again."""

MEMORIES_OF_TILE = Size(cpu=2**22, gpu=2**22, tpu=2**22)
"""Bytes of a tile of longer ones."""

MEMORIES_OF_BLOCK = Size(cpu=0, gpu=0, tpu=2**25)
"""Bytes of the memories before each step of a block, which a kernel makes again on its way back; 0
where kernels would only be interpreted."""

HEAD_OF_KERNEL = Size(cpu=0, gpu=0, tpu=2**12)
"""Numbers of the memory of a head, at most, that kernels are faster for than chunks. A kernel takes
time as the memory is large; a chunk's products hardly do."""

CHANNELS_OF_KERNEL = Size(cpu=0, gpu=0, tpu=2**13)
"""The same where decays are per channel."""

MEMORIES_OF_KERNEL = Size(cpu=2**25, gpu=2**25, tpu=2**26)
"""Bytes of what all steps of a kernel do to the memories, and of those before every block."""

BLOCK = Size(cpu=16, gpu=16, tpu=16)
"""Steps of a sub-chunk whose scores are one product of matrices where its decays are mild. 32 were
level, and are mild less often."""

STRONG_BLOCK = Size(cpu=4, gpu=4, tpu=4)
"""Steps between which decays per channel are formed pair by pair where they may be anything: three
times as slow, 394 ms in place of 1286 for rwkv7_time_mix at 4096, 1."""

INVERSE_ROWS = 8
"""Triangular matrices up to this size are inverted row by row."""

# Newton's method: `block_affine.py`.

ENTRIES_APART = Size(cpu=1, gpu=4, tpu=4)
"""Numbers of the blocks of a Jacobian, at most, whose entries are arrays of their own. A TPU keeps
the last two axes of an array in tiles, of which a small matrix fills next to nothing: a round of
para_lstm at 16384, 1, 64, 64 takes 1.1 million cycles so, 7.4 with the matrices' axes in front of
the batch, and as products of matrices of 2 x 2 did not compile in ten minutes. On a CPU a train
step of 1024 steps compiles in 4 s as products of matrices, in 15 s by entries, no faster."""

# Attention over a window: `banded.py`.

FEWEST_QUERIES = Size(cpu=64, gpu=64, tpu=128)
"""Steps of a tile of queries, at least, and half of the window otherwise. Forward and with a
gradient, at a window of 256 (1 row of 4096 steps, 4 heads of 64, one key head): tiles of 128 steps
took 99 and 350 ms, of 64 156 and 366, of 256 137 and 521, of 512 250 and 1090."""

MOST_QUERIES = Size(cpu=256, gpu=256, tpu=256)
"""The same, at most. At a window of 1024 (4 rows of 2048 steps, 4 heads of 64): tiles of 256 steps
took 785 and 2178 ms, of 512 1028 and 2641, of 128 643 and 3184."""
