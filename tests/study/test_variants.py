"""Study files that hold several studies, and those that describe a phantom for their cohort."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from mmpkd.cli import app
from mmpkd.errors import InputError
from mmpkd.files import read_json, write_table
from mmpkd.folder import RunFolder
from mmpkd.study.load import load_study, study_schema
from mmpkd.study.variants import variant_names, write_variants

PHANTOM = {"kind": "chest", "patients": 12, "size_px": 32, "seed": 3}


def _write(folder: Path, **changes: object) -> Path:
    study = {"name": "toy", "cohort": {"phantom": PHANTOM}, "arms": {"hard": {}, "mmpkd": {"lambda": 0.5}}, **changes}
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path


def test_an_ordinary_study_has_no_variants(tmp_path: Path) -> None:
    path = _write(tmp_path)
    assert variant_names(path) == ()
    with pytest.raises(InputError, match=r"toy.yaml: has no variant 'a'; it is an ordinary study"):
        load_study(path, variant="a")


def test_a_variant_changes_what_it_names_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    changes = {"arms": {"mmpkd": {"temperature": 2.0}}, "seeds": [4], "cohort": {"phantom": {"text_spatial": False}}}
    path = _write(tmp_path, variants={"plain": None, "hot": changes})
    assert variant_names(path) == ("plain", "hot")
    plain, plain_root = load_study(path, variant="plain")
    hot, hot_root = load_study(path, variant="hot")
    assert (plain.name, hot.name) == ("toy-plain", "toy-hot")
    assert plain.arms["mmpkd"].objective.temperature == 1.0
    objective = hot.arms["mmpkd"].objective
    assert (objective.lambda_, objective.temperature) == (0.5, 2.0)
    assert plain.seeds == (0, 1, 2)
    assert hot.seeds == (4,)
    assert plain_root != hot_root


def test_variants_of_one_phantom_share_its_folder_which_is_written_once(tmp_path: Path) -> None:
    path = _write(tmp_path, variants={"a": {"seeds": 1}, "b": {"seeds": 2}})
    _, first = load_study(path, variant="a")
    written = (first / "table.csv").stat().st_mtime_ns if (first / "table.csv").exists() else None
    _, second = load_study(path, variant="b")
    assert first == second
    assert first.parent == tmp_path / "cohorts"
    assert written is None or (second / "table.csv").stat().st_mtime_ns == written


def test_what_variants_have_in_common_is_trained_once(tmp_path: Path) -> None:
    small = {
        "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2},
        "training": {"epochs": 2, "batch_size": 8, "warmup_epochs": 0.5},
        "arms": {"hard": {}, "mmpkd": {}},
        "seeds": [0],
        "execution": {"workers": 1},
    }
    variants = {"where": None, "what": {"cohort": {"phantom": {"text_spatial": False}}}}
    path = _write(tmp_path, **small, variants=variants)
    for variant in variants:
        words = ["distil", str(path), "--variant", variant, "--arm", "hard", "--out", str(tmp_path / "out"), "-q"]
        teach = ["teach", *words[1:4], *words[6:]]
        for command in (teach, words):
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 0, done.stderr
    assert len(list((tmp_path / "out" / ".trained").iterdir())) == 1
    cells = [RunFolder(tmp_path / "out" / variant).cell("hard", 0) for variant in variants]
    weights = {(cell.student / "weights.safetensors").read_bytes() for cell in cells}
    assert len(weights) == 1
    studies = {read_json(cell.student / "student.json")["provenance"]["study"] for cell in cells}
    assert len(studies) == 2


def test_a_phantoms_description_may_be_changed(tmp_path: Path) -> None:
    plain, _ = load_study(_write(tmp_path))
    changed, _ = load_study(_write(tmp_path, cohort={"phantom": PHANTOM, "change": {"text": None}}))
    assert plain.cohort.text is not None
    assert changed.cohort.text is None


@pytest.mark.parametrize(
    ("variants", "variant", "message"),
    [
        ({"large": {}}, None, r"holds the variants large; name one with --variant"),
        ({"large": {}}, "lage", r"has no variant 'lage'.*'large'"),
        ({}, "large", r"'variants' maps names to the settings that differ"),
        ({"../up": {}}, "x", r"the variant '../up' names a folder"),
        ({"Cache": {}}, "x", r"the variant 'Cache' would lie in a folder that all share; call it otherwise"),
        ({"large": 5}, "large", r"the variant 'large' is 5; give a mapping"),
        ({"large": {"sedes": 5}}, "large", r"sedes"),
    ],
)
def test_a_wrong_variant_is_told_in_one_sentence(
    tmp_path: Path, variants: object, variant: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_study(_write(tmp_path, variants=variants), variant=variant)


def test_a_phantom_takes_no_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its cohort is a phantom, which has no folder of its own; leave --root out"):
        load_study(_write(tmp_path), tmp_path)


def test_comparisons_of_all_variants_stand_in_one_table(tmp_path: Path) -> None:
    for name, estimate in (("a", 0.5), ("b", 0.75)):
        table = pd.DataFrame({"arm": ["hard"], "estimate": [estimate]})
        write_table(RunFolder(tmp_path / name).comparison, table, {})
    together = pd.read_csv(write_variants(tmp_path, ["a", "b"]))
    assert together.to_dict("list") == {"variant": ["a", "b"], "arm": ["hard", "hard"], "estimate": [0.5, 0.75]}


def test_the_schema_knows_every_form_of_cohort_and_the_variants() -> None:
    schema = study_schema()
    forms = {form.get("$ref", form.get("type")) for form in schema["properties"]["cohort"]["anyOf"]}
    assert {"#/$defs/ArchiveCohort", "#/$defs/PhantomCohort", "string"} <= forms
    assert "PhantomSettings" in schema["$defs"]
    assert "variants" in schema["properties"]
