"""A study runs from each archive, as it lies on disk, to the report; what is private stays out of all of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from mmpkd.cli import app

pytestmark = pytest.mark.slow

TINY: Mapping[str, Any] = {
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2},
    "training": {"epochs": 1, "batch_size": 16},
    "arms": ["hard", "mmpkd"],
    "seeds": 1,
    "evaluate": {"checks": {"rois": 2, "steps": 2}},
    "compare": {"replicates": 100},
    "execution": {"workers": 1},
}

STUDIES = Path(__file__).parents[3] / "studies"
SMALL_VIT = "test_vit"  # timm's own ViT for tests

MAY_HOLD_IDS = {"cases.parquet", "salt.txt"}
"""The converted table itself: paths of the archive's images, and texts, stand there and nowhere else."""


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A small ViT and a small BERT on disk, in place of the pretrained ones."""
    import timm
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_file(timm.create_model(SMALL_VIT, num_classes=0).state_dict(), folder / "vit.safetensors")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *["no", "effusion", "edema"]]
    (folder / "bert").mkdir()
    (folder / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizerFast(str(folder / "bert" / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder / "bert")
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert", safe_serialization=True)
    return {"vit": folder / "vit.safetensors", "bert": folder / "bert"}


def content_of(path: Path) -> str:
    """Return a file's content as text, tables and their provenance unpacked."""
    if path.suffix != ".parquet":
        return path.read_bytes().decode("latin-1")
    table = pq.read_table(path)
    return f"{table.schema.metadata}\n{table.to_pandas().to_csv()}"


def test_a_study_runs_from_the_archive_to_the_report(
    tree,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "PIL")  # it tells of every chunk of every PNG
    study = {**TINY, **tree.study, "cohort": {"archive": tree.archive, "options": dict(tree.options)}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    roots = [part for root in tree.roots for part in ("--root", str(root))]
    result = CliRunner().invoke(app, ["run", str(tmp_path / "study.yaml"), *roots, "--out", str(tmp_path / "r/run")])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "r" / "run" / "report.html").is_file()
    assert len(list((tmp_path / "r" / "cohorts").glob(f"{tree.archive}-*/NOTICE"))) == 1
    # canaries: nowhere in what was said, and in no file of the run
    files = [path for path in (tmp_path / "r").rglob("*") if path.is_file() and path.name not in MAY_HOLD_IDS]
    told = {"stdout": result.stdout, "stderr": result.stderr, "log": caplog.text}
    contents = told | {str(path): content_of(path) for path in files}
    for name, content in contents.items():
        for canary in tree.canaries:
            assert canary not in content, (name, canary)
    assert any(path.parent.name == "student" and path.suffix == ".safetensors" for path in files)


def test_a_converted_archive_is_not_converted_again(
    write_tree: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_tree("mini_mias")
    study = {**TINY, **tree.study, "cohort": {"archive": tree.archive, "options": dict(tree.options)}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = ["check", str(tmp_path / "study.yaml"), *(f"--root={root}" for root in tree.roots), "-q"]
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.stderr
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "cohorts").rglob("*") if path.is_file()}
    assert made
    assert CliRunner().invoke(app, command).stdout == first.stdout
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_a_broken_image_of_an_archive_goes_by_its_case_not_by_its_path(
    write_tree: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_tree("mimic_cxr")
    images = sorted(path for root in tree.roots for path in root.rglob("*.jpg"))
    images[0].write_bytes(images[0].read_bytes()[:200])
    study = {**TINY, **tree.study, "cohort": {"archive": tree.archive, "options": dict(tree.options)}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    monkeypatch.chdir(tmp_path)
    roots = [f"--root={root}" for root in tree.roots]
    result = CliRunner().invoke(app, ["check", str(tmp_path / "study.yaml"), *roots, "-q"])
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "the image" in line and "is left out" in line]
    assert re.match(r"  - case [0-9a-f]{16}: the image ", line)
    assert images[0].stem not in result.stdout + result.stderr
    for canary in tree.canaries:
        assert canary not in result.stdout + result.stderr


def test_an_archive_without_a_root_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("cohort: {archive: mini-mias}\n")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "study.yaml")])
    assert result.exit_code == 2
    assert "give its folder with --root" in result.stderr


@pytest.mark.parametrize("name", ["mimic-cxr", "cbis-ddsm"])
def test_a_shipped_study_runs_with_only_root_and_models_changed(
    name: str, write_tree: Callable[..., Any], tmp_path: Path, small_models: Mapping[str, Path]
) -> None:
    tree = write_tree(name.replace("-", "_"))
    study = yaml.safe_load((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert study["student"]["pretrained"]
    study["student"] |= {"backbone": SMALL_VIT, "pretrained": False, "weights": str(small_models["vit"])}
    if isinstance(study["teach"]["teacher"], dict):
        assert study["teach"]["teacher"]["model"] == "pubmedbert"
        study["teach"]["teacher"]["model"] = str(small_models["bert"])
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    roots = [f"--root={root}" for root in tree.roots]
    result = CliRunner().invoke(
        app, ["run", str(tmp_path / "study.yaml"), *roots, "--out", str(tmp_path / "r/run"), "-q"]
    )
    assert result.exit_code == 0, result.stderr
    report = (tmp_path / "r" / "run" / "report.html").read_text(encoding="utf-8")
    assert "IoU" in report
    for canary in tree.canaries:
        assert canary not in report
