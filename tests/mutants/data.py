"""Faults in what becomes of files: formats, batches, windows, synthetic tasks."""

from tests.mutants.fault import Fault

FORMATS = "tests/data/formats"
BATCHING = "tests/data/test_batching.py"

FAULTS = (
    Fault(
        "a CSV file whose quotes are wrong is accepted",
        "data/formats",
        "strict=True)\n    header",
        "strict=False)\n    header",
        f"{FORMATS}/test_csv.py",
    ),
    Fault(
        "a number with an underscore is accepted",
        "data/formats",
        'if "_" in "".join(values):',
        'if False and "_" in "".join(values):',
        f"{FORMATS}/test_csv.py {FORMATS}/test_json_lines.py",
    ),
    Fault(
        "a NaN in a list of numbers is accepted",
        "data/formats",
        "if not abs(found) <= LARGEST:",
        "if abs(found) > LARGEST:",
        f"{FORMATS}/test_csv.py {FORMATS}/test_json_lines.py",
    ),
    Fault(
        "a CoNLL-U range that goes beyond its sentence is accepted",
        "data/formats",
        "if until > len(words):",
        "if until > len(words) + 1:",
        f"{FORMATS}/test_conllu.py",
    ),
    Fault(
        "a series of length 0 in a .npz file is accepted",
        "data/formats",
        "if not 0 < length <= len(series):",
        "if not 0 <= length <= len(series):",
        f"{FORMATS}/test_npz.py",
    ),
    Fault(
        "a .ts file calls a malformed series by the line after it",
        "data/formats",
        'found, where = True, f"{path}, line {number}"',
        'found, where = True, f"{path}, line {number + 1}"',
        f"{FORMATS}/test_ts.py {FORMATS}/test_file_access.py",
    ),
    Fault(
        "rows that fill up a batch weigh as much as others",
        "data",
        ") < len(steps)).astype(np.float32)",
        ") < np.inf).astype(np.float32)",
        BATCHING,
    ),
    Fault(
        "a resumed run repeats a batch",
        "data",
        "self._dataset[start_step:]",
        "self._dataset[max(0, start_step - 1) :]",
        BATCHING,
    ),
    Fault(
        "the seed does not reach the order of the batches",
        "data",
        "np.random.SeedSequence(seed)",
        "np.random.SeedSequence(0 * seed)",
        BATCHING,
    ),
    Fault(
        "a sequence as long as its bucket goes into the next",
        "data",
        "bisect.bisect_left(lengths, length)",
        "min(bisect.bisect_right(lengths, length), len(lengths) - 1)",
        BATCHING,
    ),
    Fault(
        "buckets cost one row too few",
        "data",
        "return -(-(below[j]",
        "return ((below[j]",
        BATCHING,
    ),
    Fault(
        "the characters to predict are those that are read",
        "data",
        "return tokens[:, :-1], tokens[:, 1:]",
        "return tokens[:, :-1], tokens[:, :-1]",
        "tests/data/test_text.py",
    ),
    Fault(
        "a character is scored in two rows",
        "data",
        "own = (offsets[1:] > context)",
        "own = (offsets[1:] >= context)",
        "tests/data/test_text.py",
    ),
    Fault(
        "windows of a series reach into what is held out",
        "data",
        "last[number] - horizon + 1, stride)",
        "last[number] - horizon + 2, stride)",
        "seqjax/data/windows.py",
    ),
    Fault(
        "parity is counted over sequences instead of over time",
        "data",
        "np.cumsum(inputs, axis=1, dtype=np.int32) % 2",
        "np.cumsum(inputs, axis=0, dtype=np.int32) % 2",
        "tests/data/test_synthetic_tasks.py",
    ),
    Fault(
        "the score of chance forgets that products with 0 are likelier",
        "data",
        "np.full((modulus, modulus), 2 / 3 / modulus)",
        "np.full((modulus, modulus), 1 / modulus)",
        "tests/data/test_synthetic_tasks.py",
    ),
    Fault(
        "cutting a sequence keeps the wrong end",
        "data",
        'if side == "head" else slice(',
        'if side == "tail" else slice(',
        BATCHING,
    ),
)
