"""Puts the report together: reads the run folder, draws the figures, fills the template, writes the file.

The file loads nothing, holds no script, and holds no case id, path or report text. The same run folder
gives the same bytes.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from mmpkd.files import write_text
from mmpkd.folder import RunFolder
from mmpkd.report.axes import arm_styles
from mmpkd.report.cases import colour_bar_uri, example_cases
from mmpkd.report.controls import control_table
from mmpkd.report.data import ReportData, read_report_data
from mmpkd.report.diagnosis import diagnosis_items
from mmpkd.report.findings import auroc_figures
from mmpkd.report.glossary import METRICS, TERMS, describe_metric
from mmpkd.report.localisation import map_panels
from mmpkd.report.methods import methods_table
from mmpkd.report.record import cohort_panel, run_panel, training_figures
from mmpkd.report.tables import compared_arms, endpoint_table, finding_table
from mmpkd.report.teacher import teacher_panel
from mmpkd.report.tiles import key_numbers
from mmpkd.report.trust import map_trust

SECTIONS = (
    ("verdict", "Verdict"),
    ("teacher", "Teacher"),
    ("arms", "Arms"),
    ("diagnosis", "Diagnosis"),
    ("findings", "Findings"),
    ("localisation", "Localisation"),
    ("trust", "Trust"),
    ("cases", "Cases"),
    ("training", "Training"),
    ("cohort", "Cohort"),
    ("run", "What ran"),
    ("glossary", "Glossary"),
)


def write_report(run_folder: RunFolder) -> Path:
    """Write the self-contained HTML report of a run folder and return its path.

    Every file but ``study.yaml`` and ``run.json`` may be missing: its section then says what has not run.

    Raises:
        InputError: The folder is no run folder, a file in it is damaged, or the report cannot be written.
    """
    write_text(run_folder.report, render(read_report_data(run_folder)))
    return run_folder.report


def render(data: ReportData) -> str:
    """Return the report as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    package = files("mmpkd.report")
    template = environment.from_string(package.joinpath("template.html.j2").read_text(encoding="utf-8"))
    style = package.joinpath("style.css").read_text(encoding="utf-8")
    return template.render(style=Markup(style), **_context(data))  # noqa: S704  (our own file)


def _context(data: ReportData) -> dict[str, Any]:
    return {
        "name": str(data.study.get("name") or (data.cohort or {}).get("name") or "study"),
        "sections": SECTIONS,
        "intervals": _interval_words(data),
        "verdict": data.verdict,
        "tiles": key_numbers(data),
        "teacher": teacher_panel(data),
        "arms": compared_arms(data),
        "arm_styles": arm_styles(compared_arms(data)),
        "endpoints": endpoint_table(data),
        "controls": control_table(data),
        "diagnosis": diagnosis_items(data),
        "auroc_figures": auroc_figures(data),
        "auroc_table": finding_table(data, "auroc"),
        "map_panels": map_panels(data),
        "methods": methods_table(data),
        "trust": map_trust(data),
        "example_cases": example_cases(data),
        "colour_bar": colour_bar_uri() if data.gallery else "",
        "training": training_figures(data),
        "cohort": cohort_panel(data),
        "run": run_panel(data),
        "settings_yaml": yaml.safe_dump(dict(data.study), sort_keys=False, allow_unicode=True, width=100),
        "metrics": _metrics_used(data),
        "terms": TERMS,
    }


def _interval_words(data: ReportData) -> str:
    """Return ``95% intervals`` where the study says which, else ``intervals``."""
    compare = data.study.get("compare")
    levels = [compare.get(key) for key in ("confidence", "level")] if isinstance(compare, dict) else []
    level = next((value for value in levels if isinstance(value, float) and 0 < value < 1), None)
    return "intervals" if level is None else f"{100 * level:g}% intervals"


def _metrics_used(data: ReportData) -> list[Any]:
    """Return the definitions of the metrics that the report names, in the glossary's order."""
    used = {row.metric for row in data.comparison}
    used |= {row.metric for row in data.repeatability}
    if data.teacher is not None:
        used |= {"auroc", "brier", "calibration_error"}
    known = [metric for metric in METRICS if metric.name in used]
    unknown = sorted(used - {metric.name for metric in METRICS})
    return known + [describe_metric(name) for name in unknown]
