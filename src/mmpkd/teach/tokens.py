"""Fitting texts of any length into an encoder, and counting what did not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from mmpkd.teach.base import TokenCount

Long = Literal["head-tail", "windows", "head"]


@dataclass(frozen=True)
class Windows:
    """Texts as token ids, special tokens included.

    Args:
        ids: For each text its windows (one, unless long texts are windowed), each a list of token ids.
        count: Tokens seen and cut, special tokens not counted.
    """

    ids: list[list[list[int]]]
    count: TokenCount

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longest window of each text."""
        return np.array([max(map(len, windows)) for windows in self.ids], dtype=np.int64)


def cut_into_windows(tokeniser: Any, texts: Sequence[str], long: Long, max_tokens: int, max_windows: int) -> Windows:
    """Tokenise texts and fit each into windows of at most ``max_tokens`` tokens.

    ``head`` keeps the beginning. ``head-tail`` keeps the first quarter and the last three quarters of the room (Sun
    et al. 2019, "How to fine-tune BERT", keep 128 + 382 of 510): a report ends with its impression. ``windows``
    divides the text evenly over as few windows as hold it, at most ``max_windows``; the rest is cut.
    """
    before, after = _special_tokens(tokeniser)
    room = max_tokens - len(before) - len(after)
    bare = tokeniser(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if len(texts) else []
    kept = [_fit(ids, long, room, max_windows) for ids in bare]
    seen = sum(map(len, bare))
    cut = seen - sum(len(window) for windows in kept for window in windows)
    return Windows([[before + window + after for window in windows] for windows in kept], TokenCount(seen, cut))


def longest_input(tokeniser: Any, encoder: Any) -> int:
    """Return how many tokens the encoder takes, special tokens included."""
    limits = [int(tokeniser.model_max_length)]  # a huge number where the tokeniser does not know
    positions = getattr(encoder.config, "max_position_embeddings", None)
    if positions is not None:
        table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)  # RoBERTa counts positions from after the padding's
        limits.append(int(positions) - (0 if padding is None else padding + 1))
    return min(limits)


def _fit(ids: list[int], long: Long, room: int, max_windows: int) -> list[list[int]]:
    if len(ids) <= room:
        return [ids]
    if long == "head":
        return [ids[:room]]
    if long == "head-tail":
        head = room // 4
        return [ids[:head] + ids[len(ids) - (room - head) :]]
    ids = ids[: room * max_windows]
    count = -(-len(ids) // room)
    edges = [len(ids) * index // count for index in range(count + 1)]
    return [ids[start:stop] for start, stop in pairwise(edges)]


def _special_tokens(tokeniser: Any) -> tuple[list[int], list[int]]:
    """Return the ids the tokeniser puts before and after a text, found by trying it on one word."""
    word = list(tokeniser("a", add_special_tokens=False)["input_ids"])
    whole = list(tokeniser("a")["input_ids"])
    for start in range(len(whole) - len(word) + 1):
        if whole[start : start + len(word)] == word:
            return whole[:start], whole[start + len(word) :]
    return [], []
