"""Faults in weights of other libraries."""

from tests.mutants.fault import Fault

LAYERS = "tests/interop/test_layers.py"
REFUSALS = "tests/interop/test_refusals.py"
PUBLISHED = "tests/interop/test_published_models.py"
RUNS = "tests/interop/test_published_runs.py"
TOKENIZERS = "tests/data/test_tokenizers.py"
IMPORTING = "tests/train/test_importing.py"

FAULTS = (
    Fault(
        "qwen: gates of attention are taken for its queries",
        "interop",
        '("query", "gate"), gated',
        '("gate", "query"), gated',
        f"{PUBLISHED} -k qwen3_5_text",
    ),
    Fault(
        "hgrn2: the first layer has a lower bound",
        "interop",
        "jnp.cumsum(shares, axis=0) - shares[:1]",
        "jnp.cumsum(shares, axis=0)",
        f"{PUBLISHED} -k hgrn2",
    ),
    Fault(
        "experts: weights of the chosen ones do not sum to 1",
        "core",
        "weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)",
        "weights = weights * 1.0",
        f"{PUBLISHED} -k qwen3_next",
    ),
    Fault(
        "weights for which there is no place are left out",
        "interop",
        "surplus = given - used - set(family.tied)",
        "surplus = set()",
        f"{REFUSALS}::test_names",
    ),
    Fault(
        "decays are loaded in bfloat16 with all else",
        "interop",
        "jnp.promote_types(wanted, jnp.float32) if float32 else wanted",
        "wanted",
        f"{REFUSALS}::test_dtype_and_sharding",
    ),
    Fault(
        "a tied head that differs is left out",
        "interop",
        "if name in tensors and name not in used:",
        "if False:",
        f"{REFUSALS}::test_a_tied_head_that_differs",
    ),
    Fault(
        "parameters are the memory of a live layer",
        "interop",
        'np.array(array, jax.dtypes.canonicalize_dtype(wanted), order="C")',
        "array.astype(jax.dtypes.canonicalize_dtype(wanted), copy=False)",
        f"{REFUSALS}::test_a_live_array_may_change",
    ),
    Fault(
        "a model is saved with the config of another one",
        "interop",
        "same = same or _program(module) == _program(other)",
        "same = True",
        f"{REFUSALS}::test_another_model_with_the_same_parameters",
    ),
    Fault(
        "sections go back in the order in which they come",
        "interop",
        "return self._ordered(arrays, _inverse(self.order), sizes)",
        "return self._ordered(arrays, self.order, sizes)",
        "tests/interop/test_operations.py",
    ),
    Fault(
        "a GRU of Keras has the gates of PyTorch",
        "interop",
        '"gru": (1, 0, 2)',
        '"gru": (0, 1, 2)',
        f"{LAYERS} -k keras_gru",
    ),
    Fault(
        "the update gate of Haiku keeps what ours replaces",
        "interop",
        "Negate(0, 1)",
        "Negate(0, 2)",
        f"{LAYERS} -k haiku_gru",
    ),
    Fault(
        "the forget gate of Haiku lacks its 1",
        "interop",
        "Plus(1.0, at=1)",
        "Plus(0.0, at=1)",
        f"{LAYERS} -k haiku_lstm",
    ),
    Fault(
        "decays of an imported model are cast with all else",
        "interop",
        "cast(leaf, wide if keep else dtype)",
        "cast(leaf, dtype)",
        f"{RUNS} -k bfloat16-mamba",
    ),
    Fault(
        "a text ends with the token that begins it",
        "interop",
        "return JsonTokenizer(content, begin, None if end == begin else end)",
        "return JsonTokenizer(content, begin)",
        f"{RUNS} -k which_token",
    ),
    Fault(
        "a character is printed before all its bytes are there",
        "data",
        'return tokenizer.decode(tokens).removesuffix("\\ufffd")',
        "return tokenizer.decode(tokens)",
        TOKENIZERS,
    ),
    Fault(
        "the first match is a token of RWKV, not the longest",
        "data",
        "longest, end = node[TOKEN], position + 1",
        "longest, end, node = node[TOKEN], position + 1, {}",
        f"{TOKENIZERS} -k longest",
    ),
    Fault(
        "a published tokenizer cuts texts where its file says so",
        "data",
        "found.no_truncation()",
        "pass",
        f"{TOKENIZERS} -k 'protocol or any_text'",
    ),
    Fault(
        "a document goes on where the model ends it",
        "decode",
        "token = token if stop is None else jnp.where(token == stop, boundary, token)",
        "token = token if stop is None else jnp.where(token == stop, token, token)",
        "tests/decode/test_sampling.py -k begins",
    ),
    Fault(
        "a model that is trained further begins anew",
        "train",
        "model = task.model(seed) if model is None else Precision().to_parameters(model)",
        "model = task.model(seed)",
        f"{IMPORTING} -k further",
    ),
    Fault(
        "what a run began with is not among its checkpoints",
        "train",
        "loop.validate(0, state, log)",
        "pass",
        "tests/train/test_resume.py -k imported",
    ),
    Fault(
        "options may contradict the model that is trained further",
        "train",
        "own.model, self.config.model, frozenset()",
        "own.model, own.model, frozenset()",
        f"{IMPORTING} -k own",
    ),
    Fault(
        "a score per character is one per token",
        "train",
        "bits_per_character(score.nats, characters)}",
        "bits_per_character(score.nats, score.tokens)}",
        f"{IMPORTING} -k score",
    ),
)
