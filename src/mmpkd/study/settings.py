"""The study file: one short YAML that says what to run. Everything but the cohort has a default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mmpkd.cohort.geometry import Fit
from mmpkd.cohort.settings import CohortSettings
from mmpkd.distil.settings import ObjectiveSettings, StudentSettings, TrainingSettings
from mmpkd.evaluate.classification import MACRO
from mmpkd.evaluate.strata import POOLED
from mmpkd.settings import Settings
from mmpkd.teach.settings import TeachSettings


class ZoneDoses(Settings):
    """What is wrong on purpose with what an arm's zones say.

    Args:
        unsaid: Share of the pairs (case, finding) whose place is left out.
        side_errors: Share of the pairs whose left and right are exchanged.
    """

    unsaid: float = Field(default=0.0, ge=0.0, le=1.0)
    side_errors: float = Field(default=0.0, ge=0.0, le=1.0)


class ArmSettings(Settings):
    """One way to train a student.

    Args:
        kind: Registered arm (`hard`, `mmpkd`, ...); by default the arm's own name.
        objective: λ, temperature and preset of this arm.
        zones: Doses of an arm that is taught by zones.
        boxes: Most training cases whose ROIs teach `roi-supervised`, drawn anew by each seed; by default all.
        epochs_factor: Epochs of this arm, as a multiple of ``training.epochs``; by default 2 for `longer`, else 1.
    """

    kind: str
    objective: ObjectiveSettings = ObjectiveSettings()
    zones: ZoneDoses = ZoneDoses()
    boxes: Annotated[int, Field(ge=1)] | None = None
    epochs_factor: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None


class EndpointSettings(Settings):
    """The primary endpoint, named before the run: the difference between two arms in one metric.

    Args:
        arm: The arm in question; it is compared with ``compare.reference_arm``.
        metric: For example ``auroc``, ``average_precision``, ``iou``, ``energy_enrichment``.
        finding: A finding's name, or ``macro`` (the mean over findings).
        policy: Threshold policy of a localisation metric that needs one, such as ``matched-area``.
        method: Map method of a localisation metric; by default the one that belongs to the student's head.
    """

    arm: str = "mmpkd"
    metric: str = "auroc"
    finding: str = "macro"
    policy: str = ""
    method: str = ""


class CheckSettings(Settings):
    """Whether maps can be trusted, beyond where they lie; on a sample of the test ROIs, since it costs forward passes.

    Args:
        rois: Most ROIs looked at, drawn with a fixed seed; 0 leaves all checks out.
        steps: Steps of the deletion and insertion curves.
        withhold: How patches are withheld in them: ``tokens`` leave the sequence, or ``blur``; ``auto`` takes tokens
            where the backbone allows it.
        shift: Of the picture, right and down, as a share of its side: maps should follow.
        noise: Standard deviation of noise, as a share of the image's range of values: maps should hardly change.
    """

    rois: int = Field(default=64, ge=0)
    steps: int = Field(default=10, ge=1)
    withhold: Literal["auto", "tokens", "blur"] = "auto"
    shift: float = Field(default=0.03, ge=0.0, lt=0.5)
    noise: float = Field(default=0.05, ge=0.0, le=1.0)


class EvaluateSettings(Settings):
    """How maps are scored.

    Args:
        maps: Map methods; by default the one that belongs to the student's head.
        policies: Threshold policies by name.
        max_side_px: Maps and ROIs are compared in the geometry of the original image, on a canvas whose longer
            side is at most this.
        checks: Faithfulness, stability and sanity.
    """

    maps: tuple[str, ...] = ()
    policies: tuple[str, ...] = ("top-area=0.1", "matched-area")
    max_side_px: int = Field(default=512, ge=16)
    checks: CheckSettings = CheckSettings()

    @field_validator("maps", "policies")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is given twice; keep one")
        return names


class CompareSettings(Settings):
    """How arms are compared: the reference arm, the primary endpoint, and the bootstrap.

    Args:
        reference_arm: Every other arm is compared with it.
        primary: What the study asks.
        margin: Largest change of macro AUROC that counts as none, set before the run; without it AUROC is never called
            equivalent.
        replicates: Bootstrap replicates.
        level: Coverage of the intervals.
        seed: Seed of the bootstrap.
    """

    reference_arm: str = "hard"
    primary: EndpointSettings = EndpointSettings()
    margin: Annotated[float, Field(gt=0.0, lt=0.5)] | None = None
    replicates: int = Field(default=2000, ge=100)
    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    seed: int = 0


class ImageSettings(Settings):
    """How images become the student's input, and where the decoded ones are kept.

    Args:
        fit: ``pad`` keeps the whole picture and its proportions, ``crop`` cuts the longer side, ``stretch``
            distorts.
        cache: Folder of decoded images, shared between studies; by default ``cache`` beside the run folder.
    """

    fit: Fit = "pad"
    cache: Path | None = None


class ExecutionSettings(Settings):
    """Where the work is done; nothing here changes what is computed except the last bits of a float.

    Args:
        workers: Cells trained at the same time; ``auto``: one a core without a GPU, else as many as the GPUs hold.
        stack: Most cells trained together, with a model axis, in one process (:mod:`mmpkd.study.stacked`); 1 trains
            each alone. ``auto``: on a GPU, as many as fit.
        device: ``auto``, ``cpu`` or ``cuda``.
        gpu_share: Share of a GPU that a cell takes: 0.5 lets two run on one at the same time.
    """

    workers: int | Literal["auto"] = "auto"
    stack: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu_share: float = Field(default=1.0, gt=0.0, le=1.0)


_OF_ARM = ("kind", "epochs_factor", "zones", "boxes")


def _arms(value: object) -> object:
    """Accept a list of names, or a mapping from name to settings (the objective's settings directly)."""
    if isinstance(value, (list, tuple)):
        value = {name: {} for name in value}
    if not isinstance(value, Mapping):
        return value
    arms: dict[str, Any] = {}
    for name, given in value.items():
        if isinstance(given, ArmSettings):
            arms[name] = given
            continue
        entry = dict(given or {})
        own = {
            "kind": name,
            **{key: entry.pop(key) for key in ("kind", "epochs_factor", "zones", "boxes") if key in entry},
        }
        arms[name] = {**own, "objective": entry.pop("objective", None) or entry}
    return arms


def _seeds(value: object) -> object:
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class StudySettings(Settings):
    """A cohort, its arms, seeds and named endpoints: what ``mmpkd run`` runs.

    Args:
        name: For people.
        cohort: The cohort's description, in place or as the path of its own YAML file; a study file may name an archive
            or a phantom instead (:mod:`mmpkd.study.load`).
        teach: The teacher and how its soft labels are made.
        student: Backbone, size and head.
        training: Optimiser, augmentation, early stopping.
        arms: A list of names, or a mapping from name to its objective.
        seeds: Replicates of each arm: a number, or a list.
        images: Fit and cache.
        evaluate: Map methods and threshold policies.
        compare: Reference arm, primary endpoint, bootstrap.
        execution: Workers and device.
    """

    name: str = "study"
    cohort: CohortSettings
    teach: TeachSettings = TeachSettings()
    student: StudentSettings = StudentSettings()
    training: TrainingSettings = TrainingSettings()
    arms: Annotated[dict[str, ArmSettings], BeforeValidator(_arms)] = Field(
        default={"hard": ArmSettings(kind="hard"), "mmpkd": ArmSettings(kind="mmpkd")}, min_length=1
    )
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = Field(default=(0, 1, 2), min_length=1)
    images: ImageSettings = ImageSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    compare: CompareSettings = CompareSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice; replicates need different seeds")
        if min(seeds) < 0:
            raise ValueError("seeds are whole numbers from 0")
        return seeds

    @field_validator("arms")
    @classmethod
    def _arm_names_are_folder_names(cls, arms: dict[str, ArmSettings]) -> dict[str, ArmSettings]:
        for name in arms:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
                raise ValueError(f"the arm {name!r} names a folder: use letters, digits, '-', '_' and '.'")
        return arms

    @field_validator("cohort")
    @classmethod
    def _findings_are_no_means(cls, cohort: CohortSettings) -> CohortSettings:
        for name in (MACRO, POOLED):
            if name in cohort.findings:
                raise ValueError(
                    f"a finding is called {name!r}, which is what tables call a mean; give it another name"
                )
        return cohort

    @model_validator(mode="after")
    def _endpoint_arms_exist(self) -> StudySettings:
        primary = self.compare.primary
        if len(self.arms) > 1:
            for role, arm in (("reference_arm", self.compare.reference_arm), ("primary.arm", primary.arm)):
                if arm not in self.arms:
                    raise ValueError(f"compare.{role} is {arm!r}, which is none of the arms {', '.join(self.arms)}")
            if primary.arm == self.compare.reference_arm:
                raise ValueError(
                    f"compare.primary.arm {primary.arm!r} is the reference arm; name the arm to hold against it"
                )
        return self
