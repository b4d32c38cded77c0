"""Terms on embeddings: against their formulas written out, and what they must not see."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from mmpkd.distil import embedding_terms
from mmpkd.distil.arms import embedding_of
from mmpkd.distil.controls import moved_rows
from mmpkd.distil.embedding_criterion import EmbeddingCriterion
from mmpkd.distil.settings import EmbeddingTerms, ObjectiveSettings

RNG = torch.Generator().manual_seed(0)
FEATURES = torch.randn(7, 5, generator=RNG, dtype=torch.float64)
EMBEDDINGS = torch.randn(7, 3, generator=RNG, dtype=torch.float64)


def contrastive(features: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    return embedding_terms.contrastive(features, embeddings, 0.1)


TERMS = [embedding_terms.feature, embedding_terms.relational, contrastive]


@pytest.mark.parametrize("term", TERMS)
def test_nothing_is_left_where_both_arrange_cases_alike(term) -> None:
    turned = EMBEDDINGS @ torch.linalg.qr(torch.randn(3, 3, generator=RNG, dtype=torch.float64))[0]
    assert term(turned, EMBEDDINGS).item() == pytest.approx(0.0, abs=1e-9)
    assert term(3.0 * EMBEDDINGS, EMBEDDINGS).item() == pytest.approx(0.0, abs=1e-9)
    assert term(FEATURES, EMBEDDINGS).item() > 0.05


@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_finite_even_where_cases_coincide(term) -> None:
    features = FEATURES.clone()
    features[1] = features[0]
    features.requires_grad_()
    term(features, EMBEDDINGS).backward()
    assert torch.isfinite(features.grad).all()


def test_feature_is_one_minus_linear_cka() -> None:
    h, e = ((values - values.mean(0)).numpy() for values in (FEATURES, EMBEDDINGS))
    norms = [np.linalg.norm(part, "fro") for part in (e.T @ h, h.T @ h, e.T @ e)]
    expected = 1 - norms[0] ** 2 / (norms[1] * norms[2])
    assert embedding_terms.feature(FEATURES, EMBEDDINGS).item() == pytest.approx(expected, rel=1e-12)


def test_relational_is_the_published_loss_written_out() -> None:
    def huber(differences: list[float]) -> float:
        return float(np.mean([0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in differences]))

    def distances(values: np.ndarray) -> np.ndarray:
        found = np.array([np.linalg.norm(a - b) for a, b in itertools.permutations(values, 2)])
        return found / found.mean()

    def angles(values: np.ndarray) -> list[float]:
        def unit(edge: np.ndarray) -> np.ndarray:
            return edge / max(float(np.linalg.norm(edge)), 1e-12)

        places = range(len(values))
        return [
            float(unit(values[i] - values[j]) @ unit(values[k] - values[j]))
            for j in places
            for i in places
            for k in places
        ]

    h, e = FEATURES.numpy(), EMBEDDINGS.numpy()
    expected = huber(list(distances(h) - distances(e)))
    expected += 2 * huber([a - b for a, b in zip(angles(h), angles(e), strict=True)])
    assert embedding_terms.relational(FEATURES, EMBEDDINGS).item() == pytest.approx(expected, rel=1e-9)


def test_contrastive_is_the_divergence_of_similarities_written_out() -> None:
    total = 0.0
    for i in range(7):
        logs = []
        for values in (EMBEDDINGS, FEATURES):
            cosines = [float(functional.cosine_similarity(values[i], values[j], dim=0)) for j in range(7) if j != i]
            scaled = np.array(cosines) / 0.1
            logs.append(scaled - np.log(np.exp(scaled).sum()))
        total += float((np.exp(logs[0]) * (logs[0] - logs[1])).sum())
    assert contrastive(FEATURES, EMBEDDINGS).item() == pytest.approx(total / 7, rel=1e-9)


def test_cases_without_an_embedding_are_left_out() -> None:
    terms = EmbeddingTerms(feature=1.0, relational=1.0, contrastive=0.5)
    holes = EMBEDDINGS.clone()
    holes[[2, 5]] = math.nan
    criterion = EmbeddingCriterion(terms, holes.numpy(), torch.device("cpu"))
    assert criterion.names == ("feature", "relational", "contrastive")
    kept = torch.tensor([0, 1, 3, 4, 6])
    own = torch.arange(7)
    torch.testing.assert_close(criterion(FEATURES.float(), own), criterion(FEATURES[kept].float(), kept))
    few = torch.tensor([2, 5, 0, 1])
    assert (criterion(FEATURES[few].float(), few) == 0).all()


def test_an_arms_own_term_is_on_and_the_others_are_as_they_were() -> None:
    objective = ObjectiveSettings(embedding=EmbeddingTerms(relational=0.5))
    assert embedding_of("feature", objective) == EmbeddingTerms(feature=1.0, relational=0.5)
    assert embedding_of("relational", objective) == EmbeddingTerms(relational=0.5)
    assert embedding_of("hard", ObjectiveSettings()).names == ()


def test_controls_give_another_cases_embedding() -> None:
    labels = np.repeat([[0.0], [1.0]], 20, axis=0)
    rows = np.arange(40.0)[:, None]
    rng = np.random.default_rng(0)
    within = moved_rows("shuffled", labels, rows, rng)
    assert sorted(within[:20, 0]) == list(range(20))
    assert (within != rows).any()
    assert (moved_rows("permuted", labels, rows, rng)[:20] >= 20).any()
    assert (moved_rows("feature", labels, rows, rng) == rows).all()
