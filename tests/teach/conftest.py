"""Small cohorts with planted signal, a way to register a teacher for one test, and a tiny encoder on disk."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from mmpkd import registry
from mmpkd.cohort.cohort import Cohort
from mmpkd.teach.base import Teacher

FINDINGS = ("nodule", "effusion")
_FILLER = ["chest", "frontal", "view", "heart", "normal", "size", "lungs", "clear", "bones", "intact"]


def make_cohort(
    cases: int = 120, seed: int = 0, noise: float = 0.0, task: str = "multi-label", patients: int | None = None
) -> Cohort:
    """Return a cohort whose text says `mass` for a nodule and `fluid` for an effusion, and whose metadata hints."""
    random = np.random.default_rng(seed)
    truth = (random.random((cases, 2)) < [0.5, 0.4]).astype(float)
    if task == "multi-class":
        truth[:, 1] = 1 - truth[:, 0]
    texts = []
    for nodule, effusion in truth:
        words = list(random.choice(_FILLER, 6))
        words += ["mass"] * int(nodule) + ["fluid"] * int(effusion)
        texts.append(" ".join(random.permutation(words)))
    flipped = np.where(random.random(truth.shape) < noise, 1 - truth, truth)
    count = patients or cases // 2
    order = np.arange(cases) % count
    ids = pd.Index([f"case{index}" for index in range(cases)], name="case")
    metadata = pd.DataFrame(
        {
            "size_mm": truth[:, 0] * 4 + random.normal(0, 1, cases),
            "side": pd.Categorical(np.where(truth[:, 1] == 1, random.choice(["l", "r", "both"], cases), "none")),
        },
        index=ids,
    )
    split = np.where(order % 5 == 3, "val", np.where(order % 5 == 4, "test", "train"))
    return Cohort(
        name="planted",
        task=task,
        findings=FINDINGS,
        cases=pd.DataFrame({"patient": [f"p{one}" for one in order], "split": split, "image": None}, index=ids),
        labels=flipped,
        root=Path(),
        text=pd.Series(texts, index=ids, dtype=object),
        metadata=metadata,
    )


@pytest.fixture
def planted() -> Callable[..., Cohort]:
    return make_cohort


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type[Teacher]], None]:
    """Make a teacher class known by a name, as a user's package would, for one test."""

    def put(name: str, teacher: type[Teacher]) -> None:
        module = ModuleType(f"a_users_package_{name}")
        module.teacher = teacher
        monkeypatch.setitem(sys.modules, module.__name__, module)
        teachers = {**registry.BUILT_IN["teachers"], name: f"{module.__name__}:teacher"}
        monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN, "teachers": teachers})

    return put


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a BERT (width 32, two layers, 32 positions) and its WordPiece tokeniser, as saved by transformers."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast
    from transformers.utils import logging

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *_FILLER, "mass", "fluid"]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(words)))
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(set(words)),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
        )
        BertModel(config).save_pretrained(folder, safe_serialization=True)
    BertTokenizerFast(vocab={word: at for at, word in enumerate(dict.fromkeys(words))}).save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()
    return folder
