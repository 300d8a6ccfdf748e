"""The tokenizer in the folder of a published model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.json_tokenizer import JsonTokenizer
from seqjax.data.rwkv_tokenizer import FILE as RWKV_FILE
from seqjax.data.rwkv_tokenizer import RWKVTokenizer

JSON_FILE = "tokenizer.json"


def read_tokenizer(
    path: str | Path, config: Mapping[str, Any] | None = None, boundary: str | None = None
) -> JsonTokenizer | RWKVTokenizer:
    """The tokenizer of a published model.

    Args:
      path: a folder with `tokenizer.json` or `rwkv_vocab_v20230424.txt`, or one of these files.
      config: of the model; what it says of `bos_token_id` and `eos_token_id` counts where
        `tokenizer_config.json` beside the tokenizer names no `bos_token` and `eos_token`.
      boundary: the token that stands between documents, by name, if that is not told there.

    Raises:
      InputError: if there is none, it cannot be read, or no token begins or ends a text.
      ImportError: if the package `tokenizers` is needed and not installed.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import seqjax as sj
      >>> rows = "".join(f"{n + 1} {bytes([n])!r} 1\\n" for n in range(256)) + "257 'the' 3\\n"
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "rwkv_vocab_v20230424.txt").write_text(rows)
      ...     tokenizer = sj.interop.read_tokenizer(folder)
      >>> tokenizer.encode("the")
      array([257], dtype=uint16)
    """
    path = Path(path)
    file = _find(path) if path.is_dir() else path
    try:
        content = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the tokenizer cannot be read ({error}).") from None
    if file.suffix == ".txt":
        return RWKVTokenizer.of_file(content, str(file))
    begin, end = _ends(file, content, config or {}, boundary)
    return JsonTokenizer(content, begin, None if end == begin else end)


def _find(folder: Path) -> Path:
    for name in (JSON_FILE, RWKV_FILE):
        if (folder / name).exists():
            return folder / name
    others = sorted(path.name for path in folder.iterdir() if "token" in path.name.lower())
    hint = (
        f" There is {', '.join(others)}: transformers.AutoTokenizer.from_pretrained({str(folder)!r}"
        f").save_pretrained({str(folder)!r}) makes a {JSON_FILE} of most."
        if others
        else ""
    )
    raise InputError(
        f"{folder} has no tokenizer: fetch {JSON_FILE} or, for models of RWKV, {RWKV_FILE}, "
        f"or name one.{hint}"
    )


def _ends(
    file: Path, content: str, config: Mapping[str, Any], boundary: str | None
) -> tuple[int, int]:
    """The tokens that begin and end a text."""
    package: Any = extra_module("tokenizers", "interop")
    try:
        numbers = package.Tokenizer.from_str(content).get_vocab(with_added_tokens=True)
    except Exception as error:  # whatever the parser there raises
        raise InputError(f"{file} is not a whole {JSON_FILE} ({error}): fetch it again.") from None
    if boundary is not None:
        if boundary not in numbers:
            raise InputError(f"{file} has no token {boundary!r}, which should be the boundary.")
        return numbers[boundary], numbers[boundary]
    own = _content_of(file.with_name("tokenizer_config.json"))
    found: list[int] = []
    for name in ("bos_token", "eos_token"):
        token = own.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        number = numbers.get(token, config.get(f"{name}_id"))
        number = number[0] if isinstance(number, list) else number
        found += [number] if number in numbers.values() else []
    if not found:
        raise InputError(
            f"Neither {file} nor the config says which token begins or ends a text: name it, "
            "such as '<|endoftext|>', as the boundary."
        )
    return found[0], found[-1]


def _content_of(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not JSON: {error}. Fetch it again.") from None
