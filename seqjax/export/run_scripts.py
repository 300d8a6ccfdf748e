"""The script that goes with an exported model: replays its example and shows how it is used."""

ONNX = '''\
"""Replays example.npz with the model beside it, and uses it: pip install numpy onnxruntime"""

import json{imports}
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(__file__).parent
about = json.loads((folder / "model.json").read_text("utf-8"))
load = lambda name: onnxruntime.InferenceSession(folder / f"{{name}}.onnx")
programs = {{name: load(name) for name in about["programs"]}}


def run(name, inputs):
    names = list(about["programs"][name]["outputs"])
    return dict(zip(names, programs[name].run(names, inputs)))

'''

STABLEHLO = '''\
"""Replays example.npz with the model beside it, and uses it: pip install numpy jax flatbuffers"""

import json{imports}
from pathlib import Path

import jax.export
import numpy as np

folder = Path(__file__).parent
about = json.loads((folder / "model.json").read_text("utf-8"))
load = lambda name: jax.export.deserialize(bytearray((folder / f"{{name}}.stablehlo").read_bytes()))
programs = {{name: jax.jit(load(name).call) for name in about["programs"]}}


def run(name, inputs):
    return {{key: np.asarray(array) for key, array in programs[name](inputs).items()}}

'''

REPLAY = """

largest = 0.0
with np.load(folder / "example.npz") as example:
    for name, program in about["programs"].items():
        inputs = {key: example[f"{name}/inputs/{key}"] for key in program["inputs"]}
        for key, array in run(name, inputs).items():
            difference = array.astype(float) - example[f"{name}/outputs/{key}"]
            largest = max(largest, np.abs(difference).max())
print(f"largest difference from the outputs in example.npz: {largest:.1e}")
"""

ENCODE = {
    "numbers": '''

def encode(values):
    """(time, channels), NaN where missing -> what the model reads."""
    scaled = (values - np.array(about["location"])) / np.array(about["scale"])
    masks = np.isnan(scaled[..., np.array(about["masked"], int)])
    return np.concatenate([np.nan_to_num(scaled, nan=0.0), masks], -1).astype(np.float32)
''',
    "characters": """

def encode(text):
    return np.array([numbers.get(one, about["unknown"]) for one in text], np.int32)
""",
    "words": """

def encode(text):
    words = re.findall(r"\\w+|[^\\w\\s]", text)
    return np.array([numbers.get(word, about["unknown"]) for word in words], np.int32)
""",
    "bytes": """

def encode(text):
    return np.array(list(text.encode()), np.int32) + 4
""",
    "spelled": """

def encode(sentence):
    \"""A list of words -> `inputs` and `characters`; of long words both ends are read.\"""
    width = about["programs"]["prefill"]["inputs"]["characters"]["shape"][-1]
    letters = {letter: number for number, letter in enumerate(about["characters"])}
    found = np.zeros((len(sentence), width), np.int32)
    for place, word in enumerate(sentence):
        word = word if len(word) <= width else word[: width // 2] + word[-width // 2 :]
        found[place, : len(word)] = [letters.get(one, about["unknown"]) for one in word]
    words = [numbers.get(word, about["unknown"]) for word in sentence]
    return np.array(words, np.int32), found
""",
}
"""From what users have to what the model reads; of subwords, the tokenizer is not given away."""

NUMBERS = '\nnumbers = {text: number for number, text in enumerate(about["tokens"])}\n'

USE = {
    "lm": """
# The likeliest text, step by step: the state that comes out goes in again.
with np.load(folder / "carry.npz") as file:
    carry = {name: file[name][None] for name in file}
token, text = about["begin"], ""
for _ in range(100):
    outputs = run("step", {"token": np.array([token], np.int32), **carry})
    carry = {name[5:]: array for name, array in outputs.items() if name.startswith("next_")}
    token = int(outputs["logits"][0].argmax())
    text += about["tokens"][token]
print(text)
""",
    "classify": """
# Sequences of several lengths at once; `inputs` still is that of the example.
outputs = run("prefill", inputs)
for prediction in outputs["prediction"]:
    if about["target"] == "class":
        print(about["labels"][prediction])
    elif about["target"] == "labels":
        print([label for label, holds in zip(about["labels"], prediction) if holds])
    else:
        print(prediction[0] * about["target_scale"] + about["target_location"])
""",
    "tag": """
# Sequences of several lengths at once; `inputs` still is that of the example.
outputs = run("prefill", inputs)
for prediction, length in zip(outputs["prediction"], inputs["lengths"]):
    print([about["labels"][number] for number in prediction[:length]])
""",
    "transcribe": """
# The likeliest label of every step, without repetitions and blanks.
outputs = run("prefill", inputs)
for logits, length in zip(outputs["logits"], inputs["lengths"]):
    best = logits[:length].argmax(-1)
    kept = [number for place, number in enumerate(best) if place == 0 or number != best[place - 1]]
    print([about["tokens"][number] for number in kept if number != 0])
""",
    "forecast": """
# A history in its own units, NaN where missing; the forecast is in the same units. Covariates
# are standardized, by the location and scale that model.json has of them.
outputs = run("prefill", inputs)
for channel, name in enumerate(about["names"]):
    print(name, outputs["prediction"][0, :, channel].round(3).tolist())
    for place, level in enumerate(about["levels"]):
        print(f"  level {level}", outputs["quantiles"][0, :, channel, place].round(3).tolist())
""",
}


def run_script(format_name: str, task: str, about: dict) -> str:
    """The text of `run.py`.

    Args:
      format_name: `"onnx"` or `"stablehlo"`.
      task: the word after `seqjax train`.
      about: what is in `model.json`.
    """
    # Where series are read, tokens are what is written.
    kind = "numbers" if "location" in about else about.get("kind_of_tokens", "")
    head = ONNX if format_name == "onnx" else STABLEHLO
    text = head.format(imports="\nimport re" if kind == "words" and task != "tag" else "")
    if task == "tag" and kind == "words":
        kind = "spelled"
    if kind in ENCODE and kind != "numbers" and kind != "bytes":
        text += NUMBERS
    text += ENCODE.get(kind, "")
    return text + REPLAY + USE[task]
