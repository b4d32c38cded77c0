"""Names in a study file (teacher kinds, map methods, arms) become objects here, and only here.

Built-in names point at ``module:attribute`` strings, so that nothing heavy is imported before it is used;
a user's own package adds names through the entry-point group ``mmpkd.<kind>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from mmpkd.errors import InputError, did_you_mean

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "teachers": {
        "tfidf": "mmpkd.teach.text:TfidfTeacher",
        "encoder": "mmpkd.teach.encoder:EncoderTeacher",
        "tabular": "mmpkd.teach.tabular:TabularTeacher",
        "fusion": "mmpkd.teach.fusion:FusionTeacher",
        "weakened": "mmpkd.teach.weakened:WeakenedTeacher",
        "precomputed": "mmpkd.teach.precomputed:PrecomputedTeacher",
    },
    "arms": {
        "hard": "mmpkd.distil.arms:hard",
        "mmpkd": "mmpkd.distil.arms:mmpkd",
        "feature": "mmpkd.distil.arms:embedded",
        "relational": "mmpkd.distil.arms:embedded",
        "contrastive": "mmpkd.distil.arms:embedded",
        "longer": "mmpkd.distil.controls:longer",
        "label-smoothing": "mmpkd.distil.controls:label_smoothing",
        "self": "mmpkd.distil.controls:self_distilled",
        "shuffled": "mmpkd.distil.controls:shuffled",
        "permuted": "mmpkd.distil.controls:permuted",
        "constant": "mmpkd.distil.controls:constant",
        "roi-supervised": "mmpkd.distil.arms:roi_supervised",
        "random-labels": "mmpkd.distil.arms:random_labels",
        "spatial": "mmpkd.distil.arms:spatial",
        "zones-shuffled": "mmpkd.distil.arms:spatial",
        "zones-prior": "mmpkd.distil.arms:spatial",
        "zones-mirrored": "mmpkd.distil.arms:spatial",
        "zone-truth": "mmpkd.distil.arms:zone_truth",
    },
    "converters": {
        "mimic-cxr": "mmpkd.cohort.converters.mimic_cxr:CONVERTER",
        "cbis-ddsm": "mmpkd.cohort.converters.cbis_ddsm:CONVERTER",
        "nih-chestxray14": "mmpkd.cohort.converters.nih_chestxray14:CONVERTER",
        "chexlocalize": "mmpkd.cohort.converters.chexlocalize:CONVERTER",
        "covid-chestxray": "mmpkd.cohort.converters.covid_chestxray:CONVERTER",
        "mini-mias": "mmpkd.cohort.converters.mini_mias:CONVERTER",
        "coco": "mmpkd.cohort.converters.coco:CONVERTER",
    },
    "maps": {
        "attention": "mmpkd.attribute.attention:LastBlockAttention",
        "patch": "mmpkd.attribute.patch:PatchLogits",
        "rollout": "mmpkd.attribute.rollout:Rollout",
        "gradient-rollout": "mmpkd.attribute.rollout:GradientRollout",
        "relevance": "mmpkd.attribute.rollout:Relevance",
        "attention-gradient": "mmpkd.attribute.last_block:AttentionGradient",
        "grad-cam": "mmpkd.attribute.last_block:TokenGradCam",
        "legrad": "mmpkd.attribute.legrad:LeGrad",
        "libra-fullgrad": "mmpkd.attribute.libra:LibraFullGrad",
        "attcat": "mmpkd.attribute.libra:attcat",
        "libra-attcat": "mmpkd.attribute.libra:libra_attcat",
        "occlusion": "mmpkd.attribute.occlusion:TokenOcclusion",
        "integrated-gradients": "mmpkd.attribute.integrated:IntegratedGradients",
    },
}


def names(kind: str) -> list[str]:
    """Return every known name of a kind, built in or from entry points, sorted."""
    return sorted({*BUILT_IN.get(kind, {}), *(entry.name for entry in entry_points(group=f"mmpkd.{kind}"))})


def load(kind: str, name: str) -> Any:
    """Return the object registered under ``name``; an unknown name is an :class:`InputError`."""
    target = BUILT_IN.get(kind, {}).get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=f"mmpkd.{kind}", name=name):
        return entry.load()
    raise InputError(f"there is no {name!r} among the {kind}{did_you_mean(name, names(kind))}")
