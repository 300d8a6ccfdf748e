"""From the words after a command to its options, in one process or in several."""

import dataclasses
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Any

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.train.connection import ProcessesConfig, connect
from seqjax.train.processes import is_first, require_same


def parse(kind: type, arguments: Sequence[str], command: str, **options: Any) -> Any:
    """The options of a command, as a record of this kind."""
    tyro: Any = extra_module("tyro", "train")
    return tyro.cli(
        kind,
        args=list(arguments),
        prog=f"seqjax {command}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
        **options,
    )


def parse_shared(
    kind: type, arguments: Sequence[str], command: str, default: Any = None
) -> tuple[Any, ProcessesConfig]:
    """The options of a command that several processes can share, and those of the processes."""
    both = dataclasses.make_dataclass(
        "Options", [("own", kind), ("shared", ProcessesConfig, ProcessesConfig())], frozen=True
    )
    options = {} if default is None else {"default": both(default)}
    found = parse(both, arguments, command, description=kind.__doc__, **options)
    return found.own, found.shared


def processes_of(arguments: Sequence[str]) -> ProcessesConfig:
    """What the options say of processes."""
    if {"-h", "--help"} & set(arguments):
        return ProcessesConfig()
    return parse(ProcessesConfig, arguments, "", return_unknown_args=True)[0]


def join_processes(arguments: Sequence[str]) -> None:
    """Joins the other processes, before anything else is done, if the options say so.

    Raises:
      InputError: if they would have to be started, which `seqjax train` does.
    """
    config = processes_of(arguments)
    if config.supervised:
        raise InputError("--restarts, and --processes without --process, are for `seqjax train`.")
    connect(config)
    if not is_first():
        # Libraries below JAX print, too.
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def require_same_options(config: Any) -> None:
    """Raises `InputError` if another process has other options, or other versions of packages."""
    versions = {name: importlib.metadata.version(name) for name in ("seqjax", "jax", "jaxlib")}
    options = {f"--{name}": value for name, value in dataclasses.asdict(config).items()}
    require_same(versions | options)
