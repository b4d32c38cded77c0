"""The encoder teacher on a small BERT made here: learning, long texts, and loading from folders only."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmpkd.errors import InputError
from mmpkd.teach import hub
from mmpkd.teach.crossfit import teach
from mmpkd.teach.diagnose import auroc
from mmpkd.teach.settings import TeachSettings, build_teacher


def settings(folder: Path, **more: object) -> dict[str, object]:
    return {"kind": "encoder", "model": str(folder), "device": "cpu", **more}


def fitted(cohort, folder, **more):
    teacher = build_teacher(settings(folder, **more))
    return teacher.fit(cohort.privileged, cohort.labels, cohort.task, cohort.findings)


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "frozen", "pooling": "mean", "C": 1.0},
        {"mode": "fine-tune", "epochs": 20, "learning_rate": 3e-3, "dropout": 0.0},
    ],
    ids=["frozen", "fine-tune"],
)
def test_out_of_fold_soft_labels_of_an_encoder_tell_the_findings(planted, tiny_encoder, how):
    cohort = planted(200)
    taught = teach(cohort, TeachSettings.from_data({"teacher": settings(tiny_encoder, **how), "folds": 2}, "s"))
    logits = taught.soft_labels.matrix(cohort.cases.index, cohort.findings)
    assert [auroc(logits[:, column], cohort.labels[:, column]) > 0.9 for column in range(2)] == [True, True]
    assert taught.tokens_cut_share == 0


def test_the_same_seed_gives_the_same_answers_and_leaves_torchs_state_alone(planted, tiny_encoder):
    cohort = planted(40)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = (fitted(cohort, tiny_encoder, epochs=1).predict_proba(cohort.privileged) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("long", "cut"), [("head", 0.25), ("head-tail", 0.25), ("windows", 0.0)])
def test_what_does_not_fit_is_counted_and_told(planted, tiny_encoder, long, cut):
    cohort = planted(60)
    # 32 positions hold 30 tokens beside [CLS] and [SEP]; these texts have 40
    cohort = replace(cohort, text=cohort.text.map(lambda text: " ".join((text.split() * 8)[:40])))
    teacher = settings(tiny_encoder, mode="frozen", long=long)
    taught = teach(cohort, TeachSettings.from_data({"teacher": teacher, "folds": 2}, "s"))
    assert taught.tokens_cut_share == pytest.approx(cut)
    assert any("25% of the tokens did not fit" in sentence for sentence in taught.warnings) == (cut > 0)


def test_the_tail_of_a_long_report_is_read_by_head_tail_and_by_windows(planted, tiny_encoder):
    cohort = planted(200)
    filler = " ".join(["normal"] * 60)
    words = np.where(cohort.labels[:, 0] == 1, "mass", "clear")
    cohort = replace(cohort, text=cohort.text.iloc[:0].reindex(cohort.text.index).fillna(filler) + " " + words)
    told = {}
    for long in ("head", "head-tail", "windows"):
        teacher = fitted(cohort, tiny_encoder, mode="frozen", pooling="mean", long=long, C=1.0)
        told[long] = auroc(teacher.predict_proba(cohort.privileged)[:, 0], cohort.labels[:, 0])
    assert told["head"] == pytest.approx(0.5)
    assert told["head-tail"] > 0.95
    assert told["windows"] > 0.95


def test_pubmedbert_needs_nothing_but_its_name(monkeypatch, tmp_path, tiny_encoder):
    """The alias asks the hub's own cache for the encoder of the paper, safetensors only, code never."""
    from transformers import AutoModel, AutoTokenizer

    asked = []

    def redirected(load):
        def from_pretrained(name, **options):
            asked.append((name, options))
            kept = {key: value for key, value in options.items() if key not in ("revision",)}
            return load(str(tiny_encoder), **kept)

        return from_pretrained

    for kind in (AutoModel, AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", redirected(kind.from_pretrained))
    tokeniser, encoder = hub.load_encoder("pubmedbert", tmp_path)
    assert encoder.config.hidden_size == 32
    assert tokeniser("mass")["input_ids"]
    name, options = asked[-1]
    assert name == "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext"
    assert options["use_safetensors"] is True
    assert all(options["trust_remote_code"] is False and options["local_files_only"] is True for _, options in asked)


def test_a_model_that_is_not_to_be_had_is_one_sentence_with_the_remedy(monkeypatch, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    def unreachable(name, **options):
        raise OSError("We couldn't connect to the hub")

    for kind in (AutoModel, AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", unreachable)
    with pytest.raises(InputError, match="without network, copy the model to this machine and give its folder"):
        hub.load_encoder("some/encoder", tmp_path)


def test_pickled_weights_are_refused(tmp_path, tiny_encoder):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_encoder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04never read")
    with pytest.raises(InputError, match=r"has no \.safetensors weights, and mmpkd reads no pickled ones"):
        hub.load_encoder("pickled", tmp_path)


def test_a_folder_without_a_whole_encoder_is_refused(tmp_path, tiny_encoder):
    folder = tmp_path / "part"
    shutil.copytree(tiny_encoder, folder)
    (folder / "config.json").write_text(json.dumps({"no": "model"}))
    with pytest.raises(InputError, match="does not hold a whole encoder"):
        hub.load_encoder("part", tmp_path)
