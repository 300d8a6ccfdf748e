"""Commands that write sequences: translate, caption and transcribe, on small files."""

import csv
import functools
import json
import shutil

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.train.checkpoints import Checkpoints

FAST = ["--features", "12", "--batch", "16", "--log-every", "20", "--learning-rate", "0.02",
        "--dropout", "0", "--buckets", "1", "--devices", "1"]  # fmt: skip
DIGITS = ["zero", "one", "two", "three"]


def spelled(path):
    """Numbers to words, in two columns; two answers are right."""
    with path.open("w", newline="") as file:
        out = csv.writer(file, delimiter="\t")
        out.writerow(["source", "target"])
        for number in range(64):
            words = " ".join(DIGITS[int(digit)] for digit in np.base_repr(number, 4))
            out.writerow([" ".join(np.base_repr(number, 4)), f"{words}|{words} !"])


def lines(path):
    """The same in two text files, line by line."""
    spelled(path)
    rows = list(csv.reader(path.read_text().splitlines()[1:], delimiter="\t"))
    path.write_text("".join(row[0] + "\n" for row in rows))
    (path.parent / "words.txt").write_text("".join(row[1].split("|")[0] + "\n" for row in rows))


def pictures(path):
    """A picture that is bright on one side, as numbers in the file and as files beside it."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for row in range(40):
            image = 0.1 * random.random((6, 6))
            left = row % 2
            image[:, 3 * (1 - left) : 3 * (1 - left) + 3] += 0.8
            value = image.round(3).tolist()
            if row % 4 == 0:
                value = f"{row}.npy"
                np.save(path.parent / value, image)
            side = "left" if left else "right"
            file.write(json.dumps({"image": value, "caption": f"bright on the {side}"}) + "\n")


def codes(path):
    """Stretches of one of two levels, and which levels there were."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for _ in range(60):
            text = "".join(random.choice(list("ab"), random.integers(1, 4)))
            steps = []
            for letter in text:
                steps += [1.0 if letter == "a" else -1.0] * int(random.integers(2, 4)) + [0.0]
            file.write(json.dumps({"values": steps, "text": text}) + "\n")
        # Two steps are not enough for three labels.
        file.write(json.dumps({"values": [1.0, 1.0], "text": "aba"}) + "\n")


WAYS = {
    "columns": (
        "translate", spelled, "pairs.tsv",
        ["--separator", "|", "--embedding", "8", "--steps", "150", "--label-smoothing", "0",
         "--tokens", "words"],
    ),
    "lines": (
        "translate", lines, "numbers.txt",
        ["--train-targets", "words.txt", "--embedding", "8", "--steps", "150", "--input-feeding",
         "--score", "multiplicative", "--scheduled-sampling", "0.1", "--label-smoothing", "0"],
    ),
    "pictures": (
        "caption", pictures, "pictures.jsonl",
        ["--convolutions", "4", "4", "--summary", "8", "--embedding", "8", "--steps", "60"],
    ),
    "codes": ("transcribe", codes, "codes.jsonl", ["--steps", "200", "--layers", "1"]),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(WAYS))
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    kind, write, name, options = WAYS[request.param]
    write(folder / name)
    options = [{"--score": "--attention"}.get(option, option) for option in options]
    steps = int(options[options.index("--steps") + 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        argv = ["train", kind, "--train", name, "--out", "run", "--validate-every", str(steps // 2)]
        assert main([*argv, *FAST, *options]) == 0
    return request.param, folder, steps


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    way, folder, steps = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return way, WAYS[way][2], tmp_path, steps


def fails(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed[printed.rindex("error: ") :]


def test_it_learns_evaluates_and_draws(run, capsys):
    way, name, folder, _ = run
    capsys.readouterr()
    argv = ["evaluate", "run", "--pictures"]
    if way == "lines":
        argv += ["--targets", "words.txt", "--beams", "2"]
    if way == "codes":
        rows = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(rows[:-1]))
    assert main([*argv, "--input", name]) == 0
    printed = capsys.readouterr().out
    scores = dict(line.strip().rsplit(None, 1) for line in printed.splitlines() if line[:2] == "  ")
    assert float(scores["token error rate"]) < 0.05 and float(scores["exact match"]) > 0.9
    drawn = {path.stem for path in (folder / "run" / "pictures").glob("*.png")}
    assert (
        drawn
        == {
            "columns": {"alignment", "beams"},
            "lines": {"alignment", "beams"},
            "pictures": {"beams", "picture"},
            "codes": {"posteriors"},
        }[way]
    )


def test_predictions_have_the_format_of_the_input(run):
    way, name, folder, _ = run
    assert main(["predict", "run", "--input", name]) == 0
    stem, suffix = name.split(".")
    rows = (folder / f"{stem}.predicted.{suffix}").read_text().splitlines()
    if way == "columns":
        found = list(csv.DictReader(rows, delimiter="\t"))
        assert list(found[0]) == ["source", "target", "prediction"]
        right = [row["prediction"] == row["target"].split("|")[0] for row in found]
    elif way == "lines":
        words = (folder / "words.txt").read_text().splitlines()
        right = [row.split("\t")[1] == word for row, word in zip(rows, words, strict=True)]
    else:
        found = [json.loads(row) for row in rows]
        target = "caption" if way == "pictures" else "text"
        right = [row["prediction"] == row[target] for row in found]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("trained", ["lines", "codes"], indirect=True)
def test_a_run_goes_on_exactly(run):
    """Stopped in mid-epoch after a checkpoint, it arrives where the whole run did."""
    _, _, folder, steps = run
    whole = Checkpoints(folder / "run" / "checkpoints", read_only=True)
    wanted = whole.arrays(steps)
    shutil.rmtree(folder / "run" / "checkpoints" / str(steps))
    assert main(["train", "--resume", "run"]) == 0
    got = Checkpoints(folder / "run" / "checkpoints", read_only=True).arrays(steps)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parallel_files_must_fit_together(here, capsys):
    lines(here / "numbers.txt")
    words = (here / "words.txt").read_text().splitlines()
    (here / "fewer.txt").write_text("\n".join(words[:-1]) + "\n")
    argv = ["train", "translate", "--train", "numbers.txt", "--train-targets"]
    assert "has 64 lines and" in fails(capsys, *argv, "fewer.txt")
    assert "names 1 files and there are 2" in fails(capsys, *argv, "words.txt", "words.txt")
    assert "goes with --train" in fails(capsys, "train", "translate", *argv[4:], "words.txt")


def test_parallel_files_have_any_name_and_blank_lines(here, capsys):
    from seqjax.train.paired_files import pairs
    from seqjax.train.tasks.translate import TranslateConfig, Translation

    (here / "corpus.en").write_text("one\n\ntwo\nthree\n")
    (here / "corpus.es").write_text("uno\nnada\n \ntres\n")
    said = []
    pair = functools.partial(Translation.pair, TranslateConfig())
    found = pairs("train", [here / "corpus.en"], [here / "corpus.es"], pair, said.append)
    assert [(pair.inputs, pair.target) for pair in found] == [("one", "uno"), ("three", "tres")]
    assert found[1].where.endswith("corpus.en, line 4")
    assert said == ["train: 2 pairs with a blank line were left out."]


def test_what_the_vocabulary_does_not_know_is_wrong():
    """Two words that are both unknown are not the same word."""
    from seqjax.data.examples import Example
    from seqjax.train.tasks.translate import TranslateConfig, Translation

    examples = [Example("a b", "x y"), Example("b a", "y x z!")]
    task = Translation.fit(TranslateConfig(), examples)
    encoded = task.encode(Example("a", ("x q.", "y")))
    assert encoded["target"].tolist() == [*task.vocabulary.encode("x"), 1, 1]
    unknown = {"tokens": encoded["target"], "lengths": 3, "probability": 1.0}
    scores = task.scores([encoded], [unknown])
    assert scores["exact_match"] == 0 and abs(scores["token_error_rate"] - 2 / 3) < 1e-6
    right = {"tokens": task.vocabulary.encode("y"), "lengths": 1, "probability": 1.0}
    assert task.scores([encoded], [right])["exact_match"] == 1


def test_clips_are_tagged_frame_by_frame(here, capsys):
    """Whether the light is on, from pictures as numbers in a file."""
    random = np.random.default_rng(0)
    with (here / "lights.jsonl").open("w") as file:
        for _ in range(24):
            on = random.random(int(random.integers(2, 5))) < 0.5
            clip = np.ones((1, 4, 4, 1)) * on[:, None, None, None]
            tags = ["on" if one else "off" for one in on]
            file.write(json.dumps({"clip": clip.tolist(), "tags": tags}) + "\n")
    argv = ["train", "tag", "--train", "lights.jsonl", "--frames", "clip", "--tag", "tags",
            "--video", "3", *FAST, "--batch", "8", "--steps", "60", "--validate-every", "60",
            "--no-crf", "--out", "run"]  # fmt: skip
    assert main(argv) == 0
    assert main(["evaluate", "run", "--input", "lights.jsonl"]) == 0
    assert "accuracy                     1.0000" in capsys.readouterr().out
    assert main(["predict", "run", "--input", "lights.jsonl"]) == 0
    rows = [json.loads(row) for row in (here / "lights.predicted.jsonl").read_text().splitlines()]
    assert all(row["prediction"] == row["tags"] for row in rows)
    clip = np.zeros((2, 5, 4, 1)).tolist()
    (here / "other.jsonl").write_text(json.dumps({"clip": clip, "tags": ["on", "on"]}) + "\n")
    assert "expected images of 4 x 4 as in training, got images of 5 x 4" in fails(
        capsys, "evaluate", "run", "--input", "other.jsonl"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["translate", "--beams", "0"], "--beams must be above 0"),
        (["translate", "--length-penalty", "-1"], "--length-penalty must be 0 or more"),
        (["translate", "--label-smoothing", "1"], "--label-smoothing must be in [0, 1)"),
        (["translate", "--scheduled-sampling", "1.5"], "--scheduled-sampling must be in [0, 1]"),
        (["caption", "--convolutions", "8", "0"], "--convolutions must be above 0"),
        (
            ["translate", "--train", "pairs.tsv", "--attention", "none", "--input-feeding"],
            "--input-feeding needs attention",
        ),
        (
            ["translate", "--train", "lists.jsonl", "--separator", "|"],
            "expected a text to be written",
        ),
    ],
)
def test_mistakes_before_training(here, capsys, options, message):
    spelled(here / "pairs.tsv")
    rows = [json.dumps({"source": "a", "target": [] if row else "b"}) for row in range(20)]
    (here / "lists.jsonl").write_text("\n".join(rows) + "\n")
    assert message in fails(capsys, "train", *options)


def test_pictures_that_cannot_be_used(here, capsys):
    def caption(*images):
        rows = [json.dumps({"image": image, "caption": "x"}) for image in images]
        (here / "p.jsonl").write_text("\n".join(rows) + "\n")
        return fails(capsys, "train", "caption", "--train", "p.jsonl")

    assert "line 1: 'image': there is no file" in caption("none.png")
    assert "line 1: 'image': expected numbers in lists" in caption([[1, 2], [3]])
    assert "got the shape (0,)" in caption([])
    one, other = np.zeros((2, 2, 1)).tolist(), np.zeros((2, 3, 1)).tolist()
    assert "line 2: expected numbers of the shape (2, 2, 1)" in caption(one, other, one, one)
    (here / "text.png").write_text("no picture")
    assert "cannot read" in caption("text.png")


def test_pictures_in_files(here):
    from PIL import Image

    from seqjax.data.examples import Malformed
    from seqjax.data.formats import Fields, find_format

    (here / "clip").mkdir()
    for number in range(3):
        Image.new("RGB", (4, 2), (255, 51 * number, 0)).save(here / "clip" / f"{number}.png")
    Image.new("L", (5, 3), 51).save(here / "grey.png")
    (here / "p.csv").write_text("image,caption\nclip,red\ngrey.png,grey\n")
    fields = Fields(image="image", label="caption")
    clip, grey = find_format(here / "p.csv").read(here / "p.csv", fields, Malformed(skip=False))
    assert clip.inputs.shape == (3, 2, 4, 3) and clip.target == "red"
    np.testing.assert_allclose(clip.inputs[2, 0, 0], [1.0, 0.4, 0.0])
    assert grey.inputs.shape == (3, 5, 1) and np.allclose(grey.inputs, 0.2)
