"""Windows over token ids, by a tokeniser of one token a word."""

from __future__ import annotations

import pytest

from mmpkd.teach.tokens import cut_into_windows


class Words:
    """Gives each word its number; 100 stands before a text and 101 after it."""

    def __call__(self, texts, add_special_tokens=True, verbose=True):
        if isinstance(texts, str):
            return {"input_ids": self._ids(texts, add_special_tokens)}
        return {"input_ids": [self._ids(text, add_special_tokens) for text in texts]}

    @staticmethod
    def _ids(text: str, special: bool) -> list[int]:
        ids = [7 if word == "a" else int(word) for word in text.split()]
        return [100, *ids, 101] if special else ids


TEN = " ".join(str(number) for number in range(10))


@pytest.mark.parametrize(
    ("long", "windows", "cut"),
    [
        ("head", [[0, 1, 2, 3]], 6),
        ("head-tail", [[0, 7, 8, 9]], 6),
        ("windows", [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]], 0),
    ],
)
def test_ten_tokens_in_room_for_four(long, windows, cut):
    found = cut_into_windows(Words(), [TEN], long, max_tokens=6, max_windows=3)
    assert found.ids == [[[100, *window, 101] for window in windows]]
    assert (found.count.seen, found.count.cut) == (10, cut)


def test_windows_beyond_the_limit_are_cut_and_counted():
    found = cut_into_windows(Words(), [TEN], "windows", max_tokens=6, max_windows=2)
    assert found.ids == [[[100, 0, 1, 2, 3, 101], [100, 4, 5, 6, 7, 101]]]
    assert found.count.cut_share == pytest.approx(0.2)


def test_short_texts_are_left_whole_and_counts_add_up():
    found = cut_into_windows(Words(), ["1 2", TEN, ""], "head", max_tokens=6, max_windows=1)
    assert found.ids == [[[100, 1, 2, 101]], [[100, 0, 1, 2, 3, 101]], [[100, 101]]]
    assert (found.count.seen, found.count.cut) == (12, 6)
    assert found.lengths.tolist() == [4, 6, 2]


def test_no_text_is_no_window():
    assert len(cut_into_windows(Words(), [], "head", 6, 1)) == 0
