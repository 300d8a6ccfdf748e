"""Every `seqjax` command in a document parses, and every option that a document names exists."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import tyro

from seqjax.bench.command import BenchConfig
from seqjax.core.errors import InputError
from seqjax.export.export_command import ExportConfig
from seqjax.train.check import given_options, tasks_with
from seqjax.train.commands import EvaluateConfig, GenerateConfig, PredictConfig
from seqjax.train.connection import ProcessesConfig
from seqjax.train.importing import ImportConfig
from seqjax.train.inspection import InspectConfig
from seqjax.train.tasks import TASKS

ROOT = Path(__file__).parent.parent
DOCS = [page for page in (ROOT / "docs").rglob("*.md") if "build" not in page.parts]
NOTEBOOKS = (ROOT / "notebooks").glob("*.md")
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS, *NOTEBOOKS})
COMMANDS = {f"train {name}": task.config for name, task in TASKS.items()} | {
    "import": ImportConfig,
    **{f"check {name}": task.config for name, task in TASKS.items() if task.reads_files},
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "inspect": InspectConfig,
    "export": ExportConfig,
    "bench": BenchConfig,
}
SHARED = {"evaluate", "predict", *(f"train {name}" for name in TASKS)}
"""Commands that several processes can share."""
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")


def options(config):
    """The names of all options of a command."""
    found = set()
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.default):
            found |= options(type(field.default))
        else:
            name = field.name.rstrip("_").replace("_", "-")
            found |= {f"--{name}", f"--no-{name}"} if field.type is bool else {f"--{name}"}
    return found


def split(code):
    """`(command, arguments)` of a line of code, or None where it is no command of ours."""
    words = shlex.split(code, comments=True)
    ours = [number for number, word in enumerate(words) if Path(word).name == "seqjax"]
    words = words[ours[-1] + 1 :] if ours else words
    if words[:2] == ["train", "--resume"]:
        return "train lm", words[1:]
    if ours and words[:1] == ["check"] and f"check {' '.join(words[1:2])}" not in COMMANDS:
        # The file tells the task then: any that takes the options.
        kinds = tasks_with(given_options(words[2:]), TASKS)
        assert kinds, f"no task takes the options of `{code}`"
        return f"check {kinds[0]}", words[1:]
    for command in COMMANDS:
        length = len(command.split())
        # Without `seqjax` in front, prose: a folder may be called like a command.
        if words[:length] == command.split() and (ours or command.startswith("train ")):
            return command, words[length:]
    named_at_all = not words or words == ["train"] or words[-1].isupper()
    assert not ours or named_at_all, f"there is no command in `{code}`"
    return None


def is_option(words):
    return not words or words[0].startswith("--")


def problem(command, arguments):
    """What is wrong with the arguments of a command, or None."""
    arguments = [word for word in arguments if word != "--help"]
    if any(word.isupper() or word.endswith("...") for word in arguments):
        arguments = [word.split("=")[0] for word in arguments if word.startswith("--")]
        known = options(COMMANDS[command])
        known |= options(ProcessesConfig) if command in SHARED else set()
        unknown = set(arguments) - known
        return f"no options of `{command}`: {unknown}" if unknown else None
    if command in SHARED:
        try:
            arguments = tyro.cli(ProcessesConfig, args=arguments, return_unknown_args=True)[1]
        except (SystemExit, InputError) as error:
            return str(error)
    if command.startswith("check "):
        arguments = ["--text" if command == "check lm" else "--train", *arguments]
    if command in ("evaluate", "predict", "generate", "inspect") and is_option(arguments[:1]):
        arguments = ["runs/of-the-reader", *arguments]
    if command in ("import", "export") and is_option(arguments[:1]):
        arguments = ["one-folder", "another-folder", *arguments]
    try:
        tyro.cli(
            COMMANDS[command],
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
        )
    except (SystemExit, InputError) as error:
        return str(error)


def code_of(page):
    """The lines of shell blocks, and all inline code."""
    text = page.read_text()
    blocks = re.findall(r"```(?:bash|console)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    return [line for block in blocks for line in block.splitlines()], inline


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page, capsys):
    lines, inline = code_of(page)
    shown = []
    for code in [*lines, *(code for code in inline if "seqjax " in code or "train " in code)]:
        if (found := split(code)) is not None:
            shown.append(found[0])
            wrong = problem(*found)
            assert wrong is None, f"`{code}`: {wrong}\n{capsys.readouterr().err}"
    # An option by itself belongs to a command that the page shows.
    configs = [COMMANDS[command] for command in shown] or list(COMMANDS.values())
    known = {"--help"}.union(*map(options, [*configs, ProcessesConfig]))
    for code in inline:
        if code.startswith("--"):
            unknown = set(OPTION.findall(code)) - known
            assert not unknown, f"`{code}`: no command on this page has {unknown}"


def test_the_test_finds_what_is_wrong():
    assert split("seqjax train classify --clip x  # clips") == (
        "train classify",
        ["--clip", "x"],
    )
    assert problem("train classify", ["--frames", "x"]) is None
    assert problem("train classify", ["--frame", "x"]) is not None
    assert problem("train classify", ["--pooling", "first"]) is not None
    with pytest.raises(AssertionError, match="no command"):
        split("seqjax trian lm")
