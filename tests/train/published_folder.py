"""A tiny random model in the form in which models are published, with a tokenizer of RWKV."""

import flax.nnx as nnx

import seqjax as sj

WORDS = (b"the ", b" over", b"line ", b"quick", " ł".encode(), b"\xe2\x98")
ROWS = "".join(f"{n + 1} {bytes([n])!r} 1\n" for n in range(256)) + "".join(
    f"{n} {word!r} {len(word)}\n" for n, word in enumerate(WORDS, 257)
)
SIZES = {"vocab_size": 264, "hidden_size": 6, "num_hidden_layers": 1, "state_size": 2}
CONFIG = {"model_type": "mamba", **SIZES, "tie_word_embeddings": False}


def publish(folder):
    """Writes one to a folder."""
    sj.interop.save(sj.interop.build(CONFIG, rngs=nnx.Rngs(0)), folder)
    (folder / "rwkv_vocab_v20230424.txt").write_text(ROWS)
    return folder
