"""Where things lie in a run folder. Every room reads and writes through these names, and only these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CellFolder:
    """One cell of the plan: one arm trained with one seed."""

    path: Path

    @property
    def student(self) -> Path:
        """The deployable student: ``weights.safetensors`` and ``student.json``, nothing else needed."""
        return self.path / "student"

    @property
    def checkpoint(self) -> Path:
        """The last finished epoch, from which a killed training goes on; removed when training is done."""
        return self.path / "checkpoint"

    @property
    def history(self) -> Path:
        """One row an epoch: losses by name, learning rate, validation metric, seconds."""
        return self.path / "history.parquet"

    @property
    def predictions(self) -> Path:
        """One row a (case, finding) of validation and test: ``case``, ``split``, ``finding``, ``probability``."""
        return self.path / "predictions.parquet"

    def maps(self, method: str) -> Path:
        """Token maps of the cases with an ROI, half precision, one file a method; zero where a finding has no ROI."""
        return self.path / f"maps-{method}.safetensors"

    @property
    def localisation(self) -> Path:
        """One row a score: ``case``, ``finding``, ``method``, ``policy``, ``metric``, ``value``."""
        return self.path / "localisation.parquet"

    @property
    def checks(self) -> Path:
        """Faithfulness and stability of the maps, in the columns of the localisation table."""
        return self.path / "checks.parquet"

    @property
    def failure(self) -> Path:
        """The traceback of the last try, where an unforeseen error ended it."""
        return self.path / "failure.txt"

    @property
    def self_soft_labels(self) -> Path:
        """Soft labels of image-only students, which the arm `self` learns from."""
        return self.path / "self-teacher" / "soft_labels.parquet"

    def self_fold(self, fold: int) -> CellFolder:
        """Return where the student that labels one fold for `self` is trained."""
        return CellFolder(self.path / "self-teacher" / f"fold-{fold}")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one study's run."""

    path: Path

    @property
    def study(self) -> Path:
        """The fully resolved study file."""
        return self.path / "study.yaml"

    @property
    def run(self) -> Path:
        """What ran: study fingerprint, versions, machine, plan."""
        return self.path / "run.json"

    @property
    def cases(self) -> Path:
        """One row a case of the cohort: ``case``, ``patient`` (hashed), ``split``."""
        return self.path / "cases.parquet"

    @property
    def cohort(self) -> Path:
        """The cohort's summary, as `mmpkd check` prints it."""
        return self.path / "cohort.json"

    @property
    def soft_labels(self) -> Path:
        """The teacher's soft labels."""
        return self.path / "soft_labels.parquet"

    @property
    def embeddings(self) -> Path:
        """Embeddings of privileged information, where the study asks for them."""
        return self.path / "embeddings.parquet"

    @property
    def teacher(self) -> Path:
        """The teacher's scores: discrimination, calibration, entropy, warnings."""
        return self.path / "teacher.json"

    @property
    def baselines(self) -> Path:
        """Localisation scores of pictures-blind baselines, in the columns of a cell's localisation table."""
        return self.path / "baselines.parquet"

    @property
    def comparison(self) -> Path:
        """Estimates and intervals per arm and per difference of arms."""
        return self.path / "comparison.parquet"

    @property
    def slices(self) -> Path:
        """The comparison's localisation over true positives and over sizes of the ROI."""
        return self.path / "slices.parquet"

    @property
    def ensembles(self) -> Path:
        """Scores of each arm's mean map over seeds, and what it gains over a single seed."""
        return self.path / "ensembles.parquet"

    @property
    def repeatability(self) -> Path:
        """Similarity of maps between seeds, arms and unrelated pairs, with intervals."""
        return self.path / "repeatability.parquet"

    @property
    def sanity(self) -> Path:
        """Similarity of maps to those of a student whose weights are randomised from the head down."""
        return self.path / "sanity.parquet"

    @property
    def diagnosis(self) -> Path:
        """Signs of known failures, each measured, with a remedy."""
        return self.path / "diagnosis.json"

    @property
    def verdict(self) -> Path:
        """The verdict in words, with the endpoints that it rests on."""
        return self.path / "verdict.json"

    @property
    def gallery(self) -> Path:
        """The report's example cases: images, ROIs and maps, one npz-free safetensors file."""
        return self.path / "gallery.safetensors"

    @property
    def report(self) -> Path:
        """The self-contained HTML report."""
        return self.path / "report.html"

    def cell(self, arm: str, seed: int) -> CellFolder:
        """Return the folder of one (arm, seed)."""
        return CellFolder(self.path / "cells" / arm / f"seed-{seed}")
