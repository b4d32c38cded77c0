"""The demo: write the phantom cohort, then run its study, as anyone would with a cohort of their own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.files import write_text
from mmpkd.progress import SILENT, Progress
from mmpkd.settings import read_yaml
from mmpkd.study.load import load_study
from mmpkd.study.run import StudyRun
from mmpkd.study.summary import summary_lines


def run_demo(out: Path, progress: Progress = SILENT) -> list[str]:
    """Write ``out/cohort`` and ``out/study.yaml``, run the study into ``out/run``, and return its summary."""
    shipped = files("mmpkd.study") / "demo"
    study_path = out / "study.yaml"
    if not (out / "cohort" / "cohort.yaml").is_file():
        phantom = PhantomSettings.from_data(read_yaml(Path(str(shipped / "phantom.yaml"))), "phantom.yaml")
        write_phantom(phantom, out / "cohort", progress)
    write_text(study_path, (shipped / "study.yaml").read_text(encoding="utf-8"))
    study, root = load_study(study_path)
    bound = StudyRun(study, root, out / "run", progress)
    report = bound.everything()
    return [*summary_lines(bound.folder), "", f"report: {report}", f"your own study starts from: {study_path}"]
