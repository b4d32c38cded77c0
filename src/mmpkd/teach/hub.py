"""Loading a Hugging Face encoder safely: from a folder or the local cache first, weights as safetensors only.

No code of a model's author is run and no pickle is read. The network is asked only for what is not on the machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmpkd.errors import InputError


class _Place(NamedTuple):
    name: str
    revision: str | None


ALIASES = {
    # The main branch holds pickled weights only; this reference is the hub's own conversion to safetensors.
    "pubmedbert": _Place("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext", "refs/pr/1"),
}
"""Short names of encoders. PubMedBERT, the paper's teacher, goes by the name BiomedBERT today."""


def load_encoder(model: str, root: Path, revision: str | None = None) -> tuple[Any, Any]:
    """Return the tokeniser and the encoder (float32, on the CPU) of an alias, a hub name or a local folder.

    Args:
        model: An alias of :data:`ALIASES`, a folder (absolute, or relative to ``root``), or a hub name.
        root: Where a relative folder is looked up.
        revision: Branch, tag or commit on the hub.

    Raises:
        InputError: It is not to be had, has no safetensors weights, or needs its author's code.
    """
    folder = root / model
    if folder.is_dir():
        return _from_folder(folder, model)
    place = ALIASES.get(model, _Place(model, None))
    place = place if revision is None else _Place(place.name, revision)
    try:
        with _quiet():
            return _load(place, local=True)
    except (OSError, ValueError):
        pass  # not in the cache, or not whole: the hub is asked below
    try:
        return _load(place, local=False)
    except ImportError as error:
        raise InputError(f"teacher.model: {model!r} needs a package that is not installed ({error.name}).") from None
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise InputError(
                f"teacher.model: {model!r} needs its author's code to be run, which mmpkd does not do; "
                f"choose an encoder that transformers knows."
            ) from None
        raise InputError(
            f"teacher.model: {model!r} is no folder under {root}, not in the Hugging Face cache, and not to be had "
            "from the hub with safetensors weights; without network, copy the model to this machine and give its "
            "folder."
        ) from None


def _from_folder(folder: Path, model: str) -> tuple[Any, Any]:
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"teacher.model: the folder {model!r} has no .safetensors weights, and mmpkd reads no pickled ones; "
            f"convert them with save_pretrained(..., safe_serialization=True)."
        )
    try:
        with _quiet():
            return _load(_Place(str(folder), None), local=True)
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"teacher.model: the folder {model!r} does not hold a whole encoder; it needs config.json, the tokeniser's "
            f"files and model.safetensors, as save_pretrained writes them."
        ) from None


def _load(place: _Place, local: bool) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    where = {"revision": place.revision or "main", "local_files_only": local, "trust_remote_code": False}
    tokeniser = AutoTokenizer.from_pretrained(place.name, **where)
    return tokeniser, AutoModel.from_pretrained(place.name, use_safetensors=True, **where).float()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' loading bars and notes off the terminal, and put its settings back afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
