"""Faults of well-known map code, each pinned as ours not to have; a docstring names the code that has it."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from mmpkd.attribute.attribute import explain
from mmpkd.attribute.capture import attention_matrices
from mmpkd.attribute.vit import vit_of
from mmpkd.evaluate.localisation import energy, pointing


def small_vit(name: str = "vit_tiny_patch16_224", **options) -> torch.nn.Module:
    torch.manual_seed(1)
    options = {"img_size": 64, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 3, **options}
    model = timm.create_model(name, **options).double().eval()
    with torch.no_grad():  # fresh weights are so small that attention is flat
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class TestPointing:
    """Quantus's PointingGame and AttributionLocalisation."""

    def test_an_empty_roi_is_no_hit(self) -> None:
        heat = np.arange(16.0).reshape(1, 4, 4)
        assert np.isnan(pointing(heat, np.zeros((1, 4, 4), bool))).all()

    def test_a_constant_map_hits_by_chance_only(self) -> None:
        mask = np.zeros((1, 4, 4), bool)
        mask[0, 1, :2] = True
        assert pointing(np.ones((1, 4, 4)), mask) == pytest.approx([2 / 16])

    def test_a_score_does_not_depend_on_the_batch_around_it(self) -> None:
        rng = np.random.default_rng(0)
        maps, masks = rng.random((7, 4, 4)), rng.random((7, 4, 4)) < 0.3
        np.testing.assert_array_equal(energy(maps, masks)[2:3], energy(maps[2:3], masks[2:3]))


class TestRollout:
    """vit-explain and its many copies."""

    @pytest.mark.parametrize("method", ["rollout", "gradient-rollout"])
    def test_rows_sum_to_one(self, method: str) -> None:
        # Without prefix tokens every column is a patch, so each map is a mean of whole rows.
        model = small_vit("vit_base_patch16_gap_224")
        assert model.num_prefix_tokens == 0
        maps = explain(model, images(), method, pixels=False)
        torch.testing.assert_close(maps.sum((2, 3)), torch.ones(3, 3, dtype=torch.float64))

    @pytest.mark.parametrize("method", ["rollout", "gradient-rollout", "relevance"])
    def test_every_case_of_a_batch_is_treated_as_the_first(self, method: str) -> None:
        model, batch = small_vit(), images()
        together = explain(model, batch, method, pixels=False)
        turned = explain(model, batch.flip(0), method, pixels=False).flip(0)
        torch.testing.assert_close(together, turned)

    @pytest.mark.parametrize("method", ["gradient-rollout", "relevance"])
    def test_each_block_meets_its_own_gradient(self, method: str) -> None:
        model = small_vit()
        with torch.enable_grad(), attention_matrices(vit_of(model)) as found:
            logits = model(images(1).requires_grad_())
        gradients = torch.autograd.grad(logits[0, 1], found)

        def walk(paired: list[torch.Tensor]) -> torch.Tensor:
            product = torch.eye(17, dtype=torch.float64)
            for matrix, gradient in zip(found, paired, strict=True):
                weighed = (matrix[0] * gradient[0]).relu().mean(0)
                if method == "relevance":
                    product = product + weighed @ product
                else:
                    weighed = weighed + torch.eye(17, dtype=torch.float64)
                    product = weighed / weighed.sum(1, keepdim=True) @ product
            return product[0, 1:].view(4, 4).detach()

        own = explain(model, images(1), method, [1], pixels=False)[0, 0]
        torch.testing.assert_close(own, walk(list(gradients)))
        assert (own - walk(list(reversed(gradients)))).abs().max() > 1e-2 * own.max()


def test_attention_is_found_while_fused_attention_is_on_and_stays_on() -> None:
    """Hooks on timm's ``attn_drop`` see nothing while attention is fused, the default."""
    model = small_vit()
    seen: list[torch.Tensor] = []
    handle = model.blocks[0].attn.attn_drop.register_forward_hook(lambda *event: seen.append(event[2]))
    with torch.no_grad():
        model(images(1))
    assert model.blocks[0].attn.fused_attn
    assert not seen
    handle.remove()
    with torch.no_grad(), attention_matrices(vit_of(model)) as found:
        model(images(1))
    assert [matrix.shape for matrix in found] == [(1, 2, 17, 17)] * 3
    assert all(block.attn.fused_attn for block in model.blocks)


def test_fewer_classes_than_cases_still_give_every_case_its_maps() -> None:
    """pytorch-grad-cam: a list of targets shorter than the batch silently yields fewer maps."""
    assert explain(small_vit(), images(5), "grad-cam", [2]).shape == (5, 1, 64, 64)


@pytest.mark.parametrize("method", ["grad-cam", "legrad", "libra-fullgrad"])
def test_cases_of_a_batch_do_not_couple(method: str) -> None:
    """pytorch-grad-cam sums the loss over the batch, so that batch statistics or shared gradients can mix cases."""
    model, batch = small_vit(), images()
    alone = explain(model, batch[1:2], method, pixels=False)
    torch.testing.assert_close(explain(model, batch, method, pixels=False)[1:2], alone)
