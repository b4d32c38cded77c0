import json

import pytest
import torch

from mmpkd.distil.checkpoint import load_student, save_student
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import build_student
from mmpkd.errors import InputError


def test_a_saved_student_computes_the_same(tmp_path, small):
    student = build_student(small, ["left", "below"], "multi-class", "crop").eval()
    save_student(student, tmp_path, {"arm": "mmpkd"})
    loaded = load_student(tmp_path)
    assert (loaded.findings, loaded.task, loaded.fit) == (("left", "below"), "multi-class", "crop")
    assert loaded.settings == small
    assert not loaded.training
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(loaded(images), student(images), atol=0, rtol=0)


def test_the_document_says_what_is_needed_to_use_it(tmp_path, small):
    save_student(build_student(small, ["left"]), tmp_path, {"arm": "mmpkd"})
    document = json.loads((tmp_path / "student.json").read_text())
    assert document["image"] == {"size_px": 16, "channels": 1, "fit": "pad", "mean": [0.5], "std": [0.25]}
    assert document["provenance"] == {"arm": "mmpkd"}
    assert {"mmpkd", "torch", "timm"} <= set(document["versions"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.json", "weights.safetensors"]


def test_pretraining_is_not_fetched_again_and_its_normalisation_stays(tmp_path, small):
    student = build_student(small, ["left"])
    student.settings = small.model_copy(update={"pretrained": True})
    student.mean.fill_(0.4)
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.settings.pretrained
    assert loaded.mean.item() == pytest.approx(0.4)


def test_same_student_same_bytes(tmp_path, small):
    student = build_student(small, ["left"])
    for name in ("one", "two"):
        save_student(student, tmp_path / name)
    for name in ("student.json", "weights.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_folder_without_a_student_is_told(tmp_path):
    with pytest.raises(InputError, match="no student can be read here"):
        load_student(tmp_path)


def test_a_later_format_is_told(tmp_path, small):
    save_student(build_student(small, ["left"]), tmp_path)
    document = json.loads((tmp_path / "student.json").read_text())
    (tmp_path / "student.json").write_text(json.dumps({**document, "format": 99}))
    with pytest.raises(InputError, match="format 99 is not known"):
        load_student(tmp_path)


def test_truncated_weights_are_told(tmp_path, small):
    save_student(build_student(small, ["left"]), tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="no student can be read here"):
        load_student(tmp_path)


def test_weights_of_another_student_are_told(tmp_path, small):
    save_student(build_student(small, ["left"]), tmp_path / "one")
    other = StudentSettings(image_size_px=16, patch_px=4, width=32, depth=1, heads=2)
    save_student(build_student(other, ["left"]), tmp_path / "two")
    (tmp_path / "two" / "weights.safetensors").replace(tmp_path / "one" / "weights.safetensors")
    with pytest.raises(InputError, match="copy both files together"):
        load_student(tmp_path / "one")
