"""What the report calls things and how it defines them: metrics, threshold policies, baselines.

Words only; the metrics themselves are computed in ``mmpkd.evaluate``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Family = Literal["classification", "localisation", "faithfulness", "stability"]


@dataclass(frozen=True)
class Metric:
    """A metric as the report names it.

    Args:
        name: As in the tables (``fdr``).
        label: For people (``False discovery rate (FDR)``).
        short: For narrow places (``FDR``).
        family: What it scores: probabilities, or of maps their place, their faithfulness or their stability.
        better: Which way is better; ``""`` where neither is.
        definition: One or two sentences.
        digits: Decimals shown.
    """

    name: str
    label: str
    short: str
    family: Family
    better: Literal["higher", "lower", ""]
    definition: str
    digits: int = 3


METRICS: tuple[Metric, ...] = (
    Metric(
        "auroc",
        "AUROC",
        "AUROC",
        "classification",
        "higher",
        "Area under the receiver operating characteristic: the probability that a random positive "
        "case scores above a random negative one, ties counting half. 0.5 is chance, 1 is perfect.",
    ),
    Metric(
        "average_precision",
        "Average precision",
        "AP",
        "classification",
        "higher",
        "Precision averaged over the recall steps. Chance is the prevalence of the finding.",
    ),
    Metric(
        "brier",
        "Brier score",
        "Brier",
        "classification",
        "lower",
        "Mean squared difference of probability and label. 0 is perfect; 0.25 is what a constant 0.5 earns.",
    ),
    Metric(
        "calibration_error",
        "Calibration error",
        "ECE",
        "classification",
        "lower",
        "Mean absolute gap of predicted probability and observed frequency over bins of equally many cases.",
    ),
    Metric(
        "iou",
        "Intersection over union (IoU)",
        "IoU",
        "localisation",
        "higher",
        "|B∩M| / |B∪M| for the binarised map B and the ROI M. A random map of area share q on an ROI "
        "of area share p expects about pq / (p + q − pq).",
    ),
    Metric(
        "recall",
        "Recall",
        "recall",
        "localisation",
        "higher",
        "|B∩M| / |M|: the share of the ROI that the binarised map covers. A wider map alone raises it.",
    ),
    Metric(
        "precision",
        "Precision",
        "precision",
        "localisation",
        "higher",
        "|B∩M| / |B|: the share of the binarised map that lies inside the ROI.",
    ),
    Metric(
        "fdr",
        "False discovery rate (FDR)",
        "FDR",
        "localisation",
        "lower",
        "1 − precision = FP / (FP + TP): the share of the binarised map that lies outside the ROI. "
        "Some papers print this under the name false positive rate.",
    ),
    Metric(
        "fpr",
        "False positive rate (FPR)",
        "FPR",
        "localisation",
        "lower",
        "FP / (FP + TN): the share of the pixels outside the ROI that the binarised map covers. Not the FDR.",
    ),
    Metric(
        "attended_area",
        "Attended area",
        "area",
        "localisation",
        "",
        "|B| / N: the share of the image that the binarised map covers.",
    ),
    Metric(
        "pointing",
        "Pointing game",
        "pointing",
        "localisation",
        "higher",
        "Whether the map's highest pixel lies inside the ROI; ties count as their expectation. Chance"
        " is the ROI's area share.",
    ),
    Metric(
        "energy_enrichment",
        "Energy enrichment",
        "enrichment",
        "localisation",
        "higher",
        "The map's mass inside the ROI over the ROI's area share. 1 is chance, 2 is twice as much as chance.",
        digits=2,
    ),
    Metric(
        "rank_accuracy",
        "Rank accuracy",
        "rank acc.",
        "localisation",
        "higher",
        "The share of the |M| highest pixels that lie inside the ROI.",
    ),
    Metric(
        "pixel_auroc",
        "Pixel AUROC",
        "pixel AUROC",
        "localisation",
        "higher",
        "AUROC of the map's values for being inside the ROI, over the pixels of one image, ties counting half."
        " 0.5 is chance.",
    ),
    Metric(
        "pixel_auprc",
        "Pixel average precision",
        "pixel AP",
        "localisation",
        "higher",
        "Average precision of the map's values for being inside the ROI. Chance is the ROI's area share.",
    ),
    Metric(
        "cnr",
        "Contrast-to-noise ratio (signed)",
        "CNR",
        "localisation",
        "higher",
        "(mean inside − mean outside) / √(variance inside + variance outside) of the map's values. 0 is"
        " chance. Papers on MS-CXR print its absolute value, by which a map that avoids the ROI does well.",
        digits=2,
    ),
    Metric(
        "deletion",
        "Deletion",
        "deletion",
        "faithfulness",
        "lower",
        "Mean probability while the map's highest patches are taken away first. A faithful map makes it fall fast.",
    ),
    Metric(
        "insertion",
        "Insertion",
        "insertion",
        "faithfulness",
        "higher",
        "Mean probability while the map's highest patches are given first. A faithful map makes it rise fast.",
    ),
    Metric(
        "insertion_minus_deletion",
        "Insertion less deletion",
        "ins. − del.",
        "faithfulness",
        "higher",
        "Insertion less deletion. About 0 for a random order.",
    ),
    Metric(
        "faithfulness_gain",
        "Faithfulness over random order",
        "over random",
        "faithfulness",
        "higher",
        "Insertion less deletion, less the same of random orders for the same student and case. 0 is chance.",
    ),
    Metric(
        "sufficiency",
        "Kept by the ROI alone",
        "ROI alone",
        "faithfulness",
        "higher",
        "Probability with the ROI's patches alone over that of the whole image.",
    ),
    Metric(
        "random_sufficiency",
        "Kept by as many random patches outside",
        "random alone",
        "faithfulness",
        "",
        "Probability with as many random patches from outside the ROI alone, over that of the whole image.",
    ),
    Metric(
        "sufficiency_gain",
        "ROI suffices",
        "suffices",
        "faithfulness",
        "higher",
        "Share of the whole image's probability that the ROI's patches alone keep, less that of as many random patches"
        " outside. 0: the ROI says no more to the student than any place.",
    ),
    Metric(
        "comprehensiveness",
        "Lost without the ROI",
        "without ROI",
        "faithfulness",
        "higher",
        "1 less the probability without the ROI's patches over that of the whole image.",
    ),
    Metric(
        "random_comprehensiveness",
        "Lost without as many random patches",
        "without random",
        "faithfulness",
        "",
        "1 less the probability without as many random patches from outside the ROI, over that of the whole image.",
    ),
    Metric(
        "comprehensiveness_gain",
        "ROI is needed",
        "needed",
        "faithfulness",
        "higher",
        "Share of the probability lost without the ROI's patches, less that lost without as many random ones."
        " 0: the student does as well without the ROI.",
    ),
    *(
        Metric(
            f"{change}_{measure}",
            f"{how}, {words}",
            f"{how}, {words}",
            "stability",
            "higher",
            f"{words[:1].upper()}{words[1:]} of the map with the map of the {said} image, moved back. 1 is the same.",
        )
        for change, how, said in (("shift", "Shifted image", "slightly shifted"), ("noise", "Noisy image", "noisy"))
        for measure, words in (
            ("ssim", "structural similarity"),
            ("spearman", "rank correlation"),
            ("top_overlap", "overlap of the top tenth"),
        )
    ),
)
_BY_NAME = {metric.name: metric for metric in METRICS}

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Arm",
        "One way to train a student, for example on hard labels only, or with the teacher's soft labels added.",
    ),
    ("Seed", "One replicate of an arm: the same settings, another random start and order of cases."),
    ("Macro", "The plain mean over findings; each finding counts the same."),
    (
        "Interval",
        "What the study's resampling of patients, and of seeds where there are several, supports. An "
        "interval of a difference that includes 0 means that the direction is not established.",
    ),
    (
        "Primary and exploratory",
        "The primary endpoint was named in the study file before the run. All else is exploratory: it"
        " suggests, it does not prove.",
    ),
    (
        "Reference labels",
        "Labels by a better reader, where the cohort has them. They are used for evaluation only.",
    ),
    (
        "Entropy",
        "How undecided the teacher's probabilities are, in bits: 1 is a coin toss, 0 is a certain "
        "label. Near 0 the soft labels say hardly more than the hard ones.",
    ),
    ("Map", "Attribution map: one value a pixel, for one case and finding, saying where the student looked."),
    (
        "ROI",
        "Region of interest: where a reader saw the finding. Students are scored on it; unless an arm"
        " says so, none was trained on it.",
    ),
)

_BASELINES = {
    "chance": "Chance",
    "uniform": "Uniform map",
    "centre": "Centre prior",
    "centre_prior": "Centre prior",
    "center_prior": "Centre prior",
    "mean_roi": "Mean-ROI prior",
    "mean_roi_prior": "Mean-ROI prior",
    "untrained": "Untrained student",
    "randomised": "Weight-randomised student",
    "roi_on_grid": "The ROI drawn by the grid",
}
_POLICIES = {
    "": "without a threshold",
    "roi_area": "at the ROI's own area",
    "matched": "at the ROI's own area",
    "matched_area": "at the ROI's own area",
    "area_matched": "at the ROI's own area",
    "roi_matched": "at the ROI's own area",
    "otsu": "at Otsu's threshold",
    "tuned": "at the threshold tuned on validation ROIs",
}


def describe_metric(name: str) -> Metric:
    """Return the metric of a table's ``name``; an unknown one is shown under its own name, undefined."""
    return _BY_NAME.get(name) or Metric(name, plain(name), plain(name), "localisation", "", "")


def plain(name: str) -> str:
    """Return a name of a file as words: ``pleural_effusion`` -> ``pleural effusion``."""
    return re.sub(r"[_\s]+", " ", name).strip()


def describe_baseline(name: str) -> str:
    """Return what the report calls a baseline."""
    return _BASELINES.get(_key(name), plain(name).capitalize())


def describe_policy(name: str) -> str:
    """Return a threshold policy in words: ``top-0.1`` -> ``on the top 10% of pixels``."""
    known = _POLICIES.get(_key(name))
    if known:
        return known
    share = re.fullmatch(
        r"(top|area|top_area|top_q|fraction_of_max|max_fraction|max)[_:=(]*(0?\.\d+|\d+%?)\)?", _key(name)
    )
    if share:
        value = share.group(2)
        if value.startswith(("0", ".")):
            value = f"{100 * float(value):g}%"
        return f"at {value} of the maximum" if "max" in share.group(1) else f"on the top {value} of pixels"
    return f"policy {plain(name)}"


def _key(name: str) -> str:
    return re.sub(r"[-\s]+", "_", name.strip().lower())
