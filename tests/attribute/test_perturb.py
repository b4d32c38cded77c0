"""Curves and sufficiency against one case and one step at a time, written plainly, and against sums done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy.ndimage import gaussian_filter
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmpkd.attribute import perturb
from mmpkd.attribute.perturb import patch_shares, perturbation_curves, random_maps, sufficiency
from mmpkd.attribute.vit import Vit, vit_of
from mmpkd.attribute.withheld import gaussian_blur
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError

PATCHES = 6  # on a grid of 2 by 3
COUNTS = [0, 2, 3, 5, 6]  # of four steps: 0, 1.5, 3, 4.5, 6 patches, halves up
LAYOUTS = {
    "class token": ("vit_tiny_patch16_224", {}),
    "no prefix token, average pooling": ("vit_base_patch16_gap_224", {}),
    "registers, average pooling": ("vit_little_patch16_reg4_gap_256", {}),
    "class and distillation token": ("deit_tiny_distilled_patch16_224", {}),
    "class token outside the position embedding": ("deit3_small_patch16_224", {}),
    "average of all tokens": ("vit_tiny_patch16_224", {"global_pool": "avg", "pool_include_prefix": True}),
    "attention pooling": ("vit_base_patch16_siglip_224", {}),
}
PATCHES_ONLY = {"no prefix token, average pooling", "registers, average pooling", "attention pooling"}
HEADS = ("class-token", "mean", "patch")


def stirred(model: Any) -> Any:
    """Return the model with weights wide enough to bend things, in double precision."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval().double()


def timm_model(layout: str) -> Any:
    torch.manual_seed(4)
    name, more = LAYOUTS[layout]
    sizes = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return stirred(timm.create_model(name, num_classes=5, **sizes, **more))


def student_model(head: str, backbone: str = "vit_tiny_patch16_224") -> Student:
    torch.manual_seed(5)
    sizes = {"image_size_px": 24, "patch_px": 8, "width": 16, "depth": 2, "heads": 2, "patch_temperature": 0.5}
    settings = StudentSettings(backbone=backbone, head=head, **sizes)
    return stirred(build_student(settings, ("nodule", "effusion")))


def noise(rows: int, channels: int = 3, height: int = 16, width: int = 24, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, channels, height, width, dtype=torch.float64, generator=generator)


def answer_of_tokens(model: Any, image: Tensor, kept: Sequence[int]) -> Tensor:
    """Return one image's logits with some patches in the sequence, by the model's modules one after another."""
    backbone = model.backbone if isinstance(model, Student) else model
    first = backbone.num_prefix_tokens
    x = backbone.norm_pre(backbone._pos_embed(backbone.patch_embed(image[None])))
    x = x[:, [*range(first), *(first + patch for patch in sorted(kept))]]
    for block in backbone.blocks:
        x = block(x)
    x = backbone.norm(x)
    if not isinstance(model, Student):
        return model.forward_head(x)[0]
    if isinstance(backbone.norm, nn.Identity):
        x = backbone.fc_norm(x)
    weight, bias = model.head.linear.weight, model.head.linear.bias
    if model.settings.head == "class-token":
        return weight @ x[0, 0] + bias
    if model.settings.head == "mean":
        return weight @ x[0, first:].mean(dim=0) + bias
    by_patch = torch.stack([weight @ token + bias for token in x[0, first:]])
    return 0.5 * torch.log(torch.exp(by_patch / 0.5).mean(dim=0))


def answer_of_blur(model: Any, image: Tensor, kept: Sequence[int], sigma_px: float = 0.05 * 16) -> Tensor:
    """Return one image's logits with all but some patches replaced by the blurred image's."""
    mixed = gaussian_filter(image.numpy(), sigma=(0, sigma_px, sigma_px), mode="nearest", truncate=3.0)
    backbone = model.backbone if isinstance(model, Student) else model
    px, across = backbone.patch_embed.patch_size[0], backbone.patch_embed.grid_size[1]
    for patch in kept:
        rows = slice(patch // across * px, patch // across * px + px)
        columns = slice(patch % across * px, patch % across * px + px)
        mixed[:, rows, columns] = image.numpy()[:, rows, columns]
    pixels = torch.from_numpy(mixed)[None]
    # a student's own forward pass ends in single precision
    return model.head(model.tokens(pixels))[0] if isinstance(model, Student) else model(pixels)[0]


def reference_curve(answer: Any, values: Tensor, column: int, kind: str, counts: Sequence[int]) -> Tensor:
    falling = sorted(range(values.numel()), key=lambda patch: -values.flatten()[patch].item())
    curve = []
    for count in counts:
        kept = falling[:count] if kind == "insertion" else falling[count:]
        curve.append(answer(kept)[column])
    return torch.stack(curve).detach()


def unequal_maps(rows: int, grid: tuple[int, int] = (2, 3), seed: int = 2) -> Tensor:
    return torch.rand(rows, *grid, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 0.5


def adding_model(rows: int, columns: int) -> Any:
    """A model with ``logit 0 = sum of the kept patches' grey / (kept + 1)`` and ``logit 1 = -logit 0``.

    Its one block attends to all tokens alike and carries the grey of each patch to the class token, which is zero.
    """
    model: Any = VisionTransformer(
        img_size=(2 * rows, 2 * columns), patch_size=2, in_chans=1, num_classes=2, embed_dim=2, depth=1, num_heads=1
    )
    block = model.blocks[0]
    block.norm1, block.norm2, model.norm = nn.Identity(), nn.Identity(), nn.Identity()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.patch_embed.proj.weight[0] = 0.25
        block.attn.qkv.weight[4:] = torch.eye(2)
        block.attn.proj.weight[:] = torch.eye(2)
        model.head.weight[:, 0] = torch.tensor([1.0, -1.0])
    return model.eval().double()


def grey(values: Sequence[Sequence[float]]) -> Tensor:
    """Return a one-image batch of 2-px patches of these greys."""
    tiles = torch.tensor(values, dtype=torch.float64)
    return tiles.repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]


class TestCurves:
    @pytest.mark.parametrize("kind", ["deletion", "insertion"])
    @pytest.mark.parametrize("layout", list(LAYOUTS))
    def test_of_a_timm_vit_are_those_of_one_case_and_step_at_a_time(self, layout: str, kind: str) -> None:
        model, images, maps, columns = timm_model(layout), noise(3), unequal_maps(3), [1, 4, 1]
        found = perturbation_curves(vit_of(model), images, maps, columns, kind, steps=4)
        empty = COUNTS.index(6 if kind == "deletion" else 0)
        for row, image in enumerate(images):
            answer = partial(answer_of_tokens, model, image)
            some = [count for place, count in enumerate(COUNTS) if place != empty or layout not in PATCHES_ONLY]
            expected = reference_curve(answer, maps[row], columns[row], kind, some)
            torch.testing.assert_close(found[row][~found[row].isnan()], expected, rtol=1e-6, atol=1e-9)
            assert found[row, empty].isnan() == (layout in PATCHES_ONLY)
        whole = model(images)[torch.arange(3), columns].detach()
        torch.testing.assert_close(found[:, len(COUNTS) - 1 - empty], whole, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("kind", ["deletion", "insertion"])
    @pytest.mark.parametrize(
        ("head", "backbone"),
        [*((head, "vit_tiny_patch16_224") for head in HEADS), ("patch", "vit_little_patch16_reg4_gap_256")],
    )
    def test_of_a_student_are_those_of_its_head_written_out(self, head: str, backbone: str, kind: str) -> None:
        student, images, maps = student_model(head, backbone), noise(2, 1, 24, 24), unequal_maps(2, (3, 3))
        found = perturbation_curves(vit_of(student), images, maps, [1, 0], kind, steps=9)
        for row, image in enumerate(images):
            counts = range(10) if head == "class-token" else range(9) if kind == "deletion" else range(1, 10)
            expected = reference_curve(partial(answer_of_tokens, student, image), maps[row], 1 - row, kind, counts)
            torch.testing.assert_close(found[row][~found[row].isnan()], expected, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("kind", ["deletion", "insertion"])
    @pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224", "vit_relpos_small_patch16_224"])
    def test_by_blur_paste_patches_of_the_blurred_image(self, name: str, kind: str) -> None:
        torch.manual_seed(4)
        sizes = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
        model = stirred(timm.create_model(name, num_classes=3, **sizes))
        images, maps = noise(2), unequal_maps(2)
        found = perturbation_curves(vit_of(model), images, maps, [2, 0], kind, "blur", steps=4)
        wide = perturbation_curves(vit_of(model), images, maps, [2, 0], kind, "blur", steps=4, sigma_px=30.0)
        for row, image in enumerate(images):
            for curves, sigma_px in ((found, 0.8), (wide, 30.0)):
                answer = partial(answer_of_blur, model, image, sigma_px=sigma_px)
                expected = reference_curve(answer, maps[row], 2 - 2 * row, kind, COUNTS)
                torch.testing.assert_close(curves[row], expected, rtol=1e-6, atol=1e-9)

    def test_pixels_that_belong_to_no_patch_are_never_blurred(self) -> None:
        torch.manual_seed(4)
        sizes = {"img_size": 29, "patch_size": 14, "embed_dim": 16, "depth": 1, "num_heads": 2}
        model = stirred(timm.create_model("vit_tiny_patch16_224", num_classes=3, **sizes))
        images = noise(1, 3, 29, 29)
        found = perturbation_curves(vit_of(model), images, unequal_maps(1, (2, 2)), [1], "insertion", "blur", steps=4)
        torch.testing.assert_close(found[0, -1], model(images)[0, 1].detach(), rtol=1e-9, atol=1e-9)
        empty = answer_of_blur(model, images[0], [], 0.05 * 29)[1].detach()
        torch.testing.assert_close(found[0, 0], empty, rtol=1e-6, atol=1e-9)

    def test_of_a_model_that_adds_patches_up_are_sums_by_hand(self) -> None:
        vit, images = vit_of(adding_model(2, 2)), grey([[0, 6], [0, 3]])
        right, wrong = torch.tensor([[[0.1, 9.0], [0.0, 2.0]]]), torch.tensor([[[3.0, 0.0], [2.0, 1.0]]])

        def curve(maps: Tensor, kind: str, column: int = 0, **options: Any) -> list[float]:
            return perturbation_curves(vit, images, maps, [column], kind, steps=4, **options)[0].tolist()

        assert curve(right, "deletion") == pytest.approx([9 / 5, 3 / 4, 0, 0, 0])
        assert curve(right, "insertion") == pytest.approx([0, 6 / 2, 9 / 3, 9 / 4, 9 / 5])
        assert curve(wrong, "deletion") == pytest.approx([9 / 5, 9 / 4, 9 / 3, 6 / 2, 0])
        assert curve(wrong, "insertion", 1) == pytest.approx([0, 0, 0, -3 / 4, -9 / 5])
        # of two opposite logits z and -z: sigmoid(z), and the softmax is sigmoid(2 z)
        assert curve(right, "deletion", output="sigmoid")[:3] == pytest.approx([0.858149, 0.679179, 0.5], abs=1e-6)
        assert curve(right, "deletion", output="softmax")[:3] == pytest.approx([0.973403, 0.817574, 0.5], abs=1e-6)

    def test_shares_are_those_of_whole_patches(self) -> None:
        assert patch_shares(vit_of(timm_model("class token")), 4).tolist() == pytest.approx([0, 2 / 6, 0.5, 5 / 6, 1])
        assert patch_shares(vit_of(adding_model(1, 3)), 3).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
        for steps in range(1, 24):
            shares = patch_shares(vit_of(adding_model(1, 23)), steps)
            assert len(shares) == steps + 1
            assert (np.diff(shares) > 0).all()

    def test_only_the_order_of_a_map_matters_whatever_the_seed(self) -> None:
        vit, images, maps = vit_of(timm_model("class token")), noise(2), unequal_maps(2)
        found = perturbation_curves(vit, images, maps, [0, 1], steps=6)
        torch.testing.assert_close(perturbation_curves(vit, images, (5 * maps).exp(), [0, 1], steps=6, seed=9), found)
        close = perturbation_curves(vit, images, 1 + 1e-9 * maps, [0, 1], steps=6)  # alike in single precision
        torch.testing.assert_close(close, found)
        ranks = maps.flatten(1).argsort(dim=1).argsort(dim=1).view_as(maps).half()
        torch.testing.assert_close(perturbation_curves(vit, images, ranks, [0, 1], steps=6), found)

    @pytest.mark.parametrize("by", ["tokens", "blur"])
    def test_a_row_depends_on_neither_its_place_nor_its_company(self, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
        vit, images, maps = vit_of(timm_model("class token")), noise(5), unequal_maps(5)
        maps[1] = maps[3] = 0.0  # their order is drawn at random
        columns = [0, 1, 2, 3, 4]
        together = perturbation_curves(vit, images, maps, columns, by=by, steps=6)
        order = [3, 0, 4, 1, 2]
        monkeypatch.setattr(perturb, "_ROWS_AT_ONCE", 2)
        permuted = perturbation_curves(vit, images[order], maps[order], order, by=by, steps=6)
        torch.testing.assert_close(permuted, together[order], rtol=1e-9, atol=1e-12)
        alone = perturbation_curves(vit, images[3:4], maps[3:4], [3], by=by, steps=6)
        torch.testing.assert_close(alone, together[3:4], rtol=1e-9, atol=1e-12)

    def test_all_rows_take_one_pass_a_point_on_sequences_that_shrink(self) -> None:
        model = timm_model("class token")
        seen: list[tuple[int, int]] = []
        handle = model.blocks[1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[:2]))
        perturbation_curves(vit_of(model), noise(4), unequal_maps(4), [0] * 4, steps=3)
        handle.remove()
        assert seen == [(4, 7), (4, 5), (4, 3), (4, 1)]

    def test_no_rows_give_no_curves(self) -> None:
        found = perturbation_curves(vit_of(timm_model("class token")), noise(0), torch.zeros(0, 2, 3), [], steps=3)
        assert found.shape == (0, 4)


class TestTies:
    def test_a_constant_map_takes_the_random_order_and_not_the_rasters(self) -> None:
        vit, images = vit_of(timm_model("class token")), noise(6)
        constant, columns = torch.full((6, 2, 3), 0.7), [0] * 6
        found = perturbation_curves(vit, images, constant, columns, steps=6, seed=3)
        random = perturbation_curves(vit, images, random_maps(vit, images, seed=3), columns, steps=6, seed=8)
        torch.testing.assert_close(found, random)
        raster = perturbation_curves(vit, images, -torch.arange(6.0).view(1, 2, 3).expand(6, 2, 3), columns, steps=6)
        assert not torch.isclose(found[:, 1:-1], raster[:, 1:-1]).all(dim=1).any()
        assert not torch.isclose(found, perturbation_curves(vit, images, constant, columns, steps=6, seed=4)).all()

    def test_tied_patches_follow_each_other_in_each_order_equally_often(self) -> None:
        """Patches 0, 1 and 3 tie below patch 2: the kept sum tells which came second."""
        images = grey([[1, 10, 100, 1000]]) + 1e-4 * noise(300, 1, 2, 8)  # each image draws its own order
        tied = torch.tensor([[1.0, 1.0, 2.0, 1.0]]).expand(300, 1, 4)
        curves = perturbation_curves(vit_of(adding_model(1, 4)), images, tied, [0] * 300, "insertion", steps=4)
        assert curves[:, 1].round().tolist() == [50] * 300
        seconds = (3 * curves[:, 2] - 100).round().tolist()
        counts = [seconds.count(value) for value in (1, 10, 1000)]
        assert sum(counts) == 300
        assert min(counts) > 75  # of 100 expected, standard deviation 8

    def test_random_maps_differ_between_images_and_seeds_and_repeat(self) -> None:
        vit, images = vit_of(timm_model("class token")), noise(4)
        maps = random_maps(vit, images)
        assert maps.shape == (4, 2, 3)
        assert all(len(row.unique()) == PATCHES for row in maps.flatten(1))
        assert len(maps.flatten(1).unique(dim=0)) == 4
        torch.testing.assert_close(random_maps(vit, images[2:].float()), maps[2:])
        assert not torch.equal(random_maps(vit, images, seed=1), maps)


class TestSufficiency:
    coverage = torch.tensor(
        [
            [[0.0, 0.6, 0.0], [0.2, 1.0, 0.0], [0.0, 0.49, 0.0]],  # patches 1 and 4
            [[0.0, 0.0, 0.0], [0.0, 0.1, 0.3], [0.0, 0.0, 0.0]],  # patch 5, the most covered
            [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],  # empty
            [[1.0, 1.0, 1.0], [1.0, 0.5, 1.0], [1.0, 1.0, 1.0]],  # fills the grid
            [[1.0, 1.0, 1.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]],  # 5 of 9: not as many others
        ],
        dtype=torch.float64,
    )

    @staticmethod
    def kept(answer: Tensor, count: int) -> set[int]:
        """Read the kept patches off a logit of the adding model whose patch n has grey 2 to the n."""
        total = answer.item() * (count + 1)
        assert total == pytest.approx(round(total), abs=1e-6)
        kept = {patch for patch in range(9) if round(total) >> patch & 1}
        assert len(kept) == count
        return kept

    def ask(self, by: str = "tokens", seed: int = 0) -> dict[str, Tensor]:
        images = grey([[1, 2, 4], [8, 16, 32], [64, 128, 256]]).expand(5, -1, -1, -1)
        return sufficiency(vit_of(adding_model(3, 3)), images, self.coverage, [0] * 5, by, seed)

    def test_keeps_and_leaves_out_the_roi_and_as_many_random_others(self) -> None:
        everything = set(range(9))
        drawn = set()
        for seed in range(30):
            found = self.ask(seed=seed)
            for row, roi in ((0, {1, 4}), (1, {5})):
                size = len(roi)
                assert self.kept(found["whole"][row], 9) == everything
                assert self.kept(found["roi"][row], size) == roi
                assert self.kept(found["without_roi"][row], 9 - size) == everything - roi
                random = self.kept(found["random"][row], size)
                assert not random & roi
                assert self.kept(found["without_random"][row], 9 - size) == everything - random
                drawn |= {(row, patch) for patch in random}
        assert drawn == {(0, patch) for patch in everything - {1, 4}} | {(1, patch) for patch in everything - {5}}

    def test_what_has_no_meaning_is_nan(self) -> None:
        found = self.ask()
        assert not found["whole"].isnan().any()
        for name in ("roi", "without_roi"):
            assert found[name].isnan().tolist() == [False, False, True, True, False]
        for name in ("random", "without_random"):
            assert found[name].isnan().tolist() == [False, False, True, True, True]
        assert self.kept(found["roi"][4], 5) == {0, 1, 2, 3, 4}

    @pytest.mark.parametrize("head", HEADS)
    def test_of_a_student_is_its_head_written_out(self, head: str) -> None:
        student, images = student_model(head), noise(5, 1, 24, 24)
        found = sufficiency(vit_of(student), images, self.coverage, [0, 1, 0, 1, 0])
        for row, roi in ((0, [1, 4]), (1, [5]), (4, [0, 1, 2, 3, 4])):
            for name, kept in (("roi", roi), ("without_roi", set(range(9)) - set(roi)), ("whole", range(9))):
                expected = answer_of_tokens(student, images[row], kept)[row % 2].detach()
                torch.testing.assert_close(found[name][row], expected, rtol=1e-6, atol=1e-9)

    def test_by_blur_pastes_the_rois_patches(self) -> None:
        student, images = student_model("mean"), noise(5, 1, 24, 24)
        found = sufficiency(vit_of(student), images, self.coverage, [0] * 5, "blur", sigma_px=2.5)
        for name, kept in (("roi", [1, 4]), ("without_roi", [0, 2, 3, 5, 6, 7, 8])):
            expected = answer_of_blur(student, images[0], kept, 2.5)[0].detach()
            torch.testing.assert_close(found[name][0], expected, rtol=1e-6, atol=1e-9)

    def test_a_row_depends_on_neither_its_place_nor_its_company(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vit, images = vit_of(student_model("class-token")), noise(5, 1, 24, 24)
        together = sufficiency(vit, images, self.coverage, [0, 1, 0, 1, 0], output="sigmoid")
        order = [4, 2, 0, 1, 3]
        monkeypatch.setattr(perturb, "_ROWS_AT_ONCE", 2)
        columns = [0, 0, 0, 1, 1]
        permuted = sufficiency(vit, images[order], self.coverage[order], columns, output="sigmoid")
        for name, values in together.items():
            torch.testing.assert_close(permuted[name], values[order], rtol=1e-9, atol=1e-12, equal_nan=True)

    def test_rows_of_equally_large_rois_take_one_pass_a_question(self) -> None:
        student = student_model("class-token")
        seen: list[tuple[int, int]] = []
        handle = student.backbone.blocks[0].register_forward_pre_hook(
            lambda _module, inputs: seen.append(inputs[0].shape[:2])
        )
        coverage = self.coverage[[1, 0, 0, 1]]  # 1, 2, 2 and 1 patches
        sufficiency(vit_of(student), noise(4, 1, 24, 24), coverage, [0] * 4)
        handle.remove()
        assert seen == [(4, 10), (2, 2), (2, 3), (2, 2), (2, 3), (2, 8), (2, 9), (2, 8), (2, 9)]

    def test_random_others_are_not_at_the_same_place_in_every_image(self) -> None:
        vit, roi = vit_of(adding_model(3, 3)), self.coverage[1:2].expand(40, -1, -1)
        images = grey([[1, 2, 4], [8, 16, 32], [64, 128, 256]]) + 1e-4 * noise(40, 1, 6, 6)
        found = sufficiency(vit, images, roi, [0] * 40)
        assert len({round(2 * value) for value in found["random"].tolist()}) >= 6  # of 8 places


class TestAmong:
    """Some patches (bars beside the picture) are never moved."""

    picture = torch.tensor([[True, True, False], [True, True, False], [True, False, False]])
    powers = grey([[1, 2, 4], [8, 16, 32], [64, 128, 256]])  # patch n has grey 2 to the n

    @pytest.mark.parametrize("kind", ["deletion", "insertion"])
    @pytest.mark.parametrize("by", ["tokens", "blur"])
    def test_rows_are_those_of_one_case_and_step_at_a_time(self, kind: str, by: str) -> None:
        student, images, maps = student_model("mean"), noise(3, 1, 24, 24), unequal_maps(3, (3, 3))
        among = torch.stack([self.picture.flatten(), torch.ones(9, dtype=torch.bool), ~self.picture.flatten()])
        counts = [[0, 2, 3, 5], [0, 3, 6, 9], [0, 1, 3, 4]]  # of 5, 9 and 4 patches, in thirds
        found = perturbation_curves(vit_of(student), images, maps, [1, 0, 1], kind, by, steps=3, among=among)
        for row, image in enumerate(images):
            bars = [patch for patch in range(9) if not among[row, patch]]
            falling = sorted(set(range(9)) - set(bars), key=lambda patch: -maps[row].flatten()[patch].item())
            for point, count in enumerate(counts[row]):
                kept = bars + (falling[:count] if kind == "insertion" else falling[count:])
                if not kept and by == "tokens":
                    assert found[row, point].isnan()
                    continue
                ask = answer_of_tokens if by == "tokens" else partial(answer_of_blur, sigma_px=0.05 * 24)
                expected = ask(student, image, kept)[(row + 1) % 2].detach()
                torch.testing.assert_close(found[row, point], expected, rtol=1e-6, atol=1e-9)

    def test_bars_stay_throughout_in_sums_by_hand(self) -> None:
        vit, images = vit_of(adding_model(2, 2)), grey([[6, 3], [0, 9]])
        maps, among = torch.tensor([[[0.5, 0.9], [7.0, 8.0]]]), torch.tensor([[True, True, False, False]])
        fall, rise = (
            perturbation_curves(vit, images, maps, [0], kind, steps=2, among=among)[0].tolist()
            for kind in ("deletion", "insertion")
        )
        assert fall == pytest.approx([18 / 5, 15 / 4, 9 / 3])  # 3 goes before 6; 0 and 9 stay
        assert rise == pytest.approx([9 / 3, 12 / 4, 18 / 5])

    def test_shares_are_those_of_the_patches_that_may_be_moved(self) -> None:
        vit = vit_of(adding_model(3, 3))
        assert patch_shares(vit, 3, patches=5).tolist() == pytest.approx([0, 0.4, 0.6, 1])
        assert patch_shares(vit, 3, patches=4).tolist() == pytest.approx([0, 0.25, 0.75, 1])

    def test_all_patches_are_as_none_named(self) -> None:
        vit, images, maps = vit_of(student_model("class-token")), noise(5, 1, 24, 24), unequal_maps(5, (3, 3))
        maps[2] = 0.0
        every = torch.ones(5, 9, dtype=torch.bool)
        assert torch.equal(random_maps(vit, images, 3), random_maps(vit, images, 3, among=every))
        plain, named = (perturbation_curves(vit, images, maps, [0] * 5, steps=4, among=a) for a in (None, every))
        assert torch.equal(plain, named)
        asked = [sufficiency(vit, images, TestSufficiency.coverage, [0] * 5, among=a) for a in (None, every)]
        for name, values in asked[0].items():
            torch.testing.assert_close(asked[1][name], values, rtol=0, atol=0, equal_nan=True)

    def test_a_map_that_only_knows_the_bars_gains_nothing_over_a_random_order(self) -> None:
        vit = vit_of(adding_model(4, 4))
        among = torch.zeros(200, 4, 4, dtype=torch.bool)
        among[:, 1:3] = True  # bars above and below
        evidence = torch.zeros(4, 4, dtype=torch.float64)
        evidence[1:3] = torch.tensor([[0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 4.0, 1.0]])
        images = grey(evidence.tolist()) + 1e-4 * noise(200, 1, 8, 8)  # each image draws its own order

        def gap(maps: Tensor, only: Tensor | None) -> Tensor:
            rise, fall = (
                perturbation_curves(vit, images, maps, [0] * 200, kind, steps=8, among=only).mean(dim=1)
                for kind in ("insertion", "deletion")
            )
            return rise - fall

        def gain(only: Tensor | None) -> Tensor:
            return gap(among.double(), only) - gap(random_maps(vit, images, 1, only), only)

        blind, told = gain(None), gain(among.flatten(1))
        assert blind.mean() > 0.4  # where bars may be moved, to know them is worth that much
        assert abs(told.mean()) < 3 * told.std() / 200**0.5
        assert told.std() < 0.5
        # under its own seed it is the random order itself
        same = random_maps(vit, images, 0, among.flatten(1))
        torch.testing.assert_close(gap(among.double(), among.flatten(1)), gap(same, among.flatten(1)))

    def test_random_maps_order_what_may_be_moved_above_the_bars(self) -> None:
        vit, images = vit_of(adding_model(3, 3)), noise(20, 1, 6, 6)
        maps = random_maps(vit, images, among=self.picture.flatten().expand(20, 9))
        assert (maps[:, ~self.picture] == 0).all()
        assert {len(row.unique()) for row in maps[:, self.picture]} == {5}
        assert maps[:, self.picture].min() > 0
        assert len(maps[:, self.picture].argmax(dim=1).unique()) == 5

    def test_an_roi_is_asked_about_with_the_bars_in_place_and_none_of_them_is_drawn(self) -> None:
        vit, read = vit_of(adding_model(3, 3)), TestSufficiency.kept
        among, bars = self.picture.flatten()[None], {2, 5, 7, 8}
        coverage = torch.tensor([[[0.0, 0.7, 0.9], [0.0, 0.6, 0.0], [0.0, 0.0, 0.0]]])  # 1, 4, and bar 2
        drawn = set()
        for seed in range(20):
            found = sufficiency(vit, self.powers, coverage, [0], seed=seed, among=among)
            assert read(found["whole"][0], 9) == set(range(9))
            assert read(found["roi"][0], 6) == {1, 4} | bars
            assert read(found["without_roi"][0], 7) == {0, 3, 6} | bars
            random = read(found["random"][0], 6) - bars
            assert len(random) == 2
            assert read(found["without_random"][0], 7) == set(range(9)) - random
            drawn |= random
        assert drawn == {0, 3, 6}

    @pytest.mark.parametrize(
        ("covered", "defined", "has_others"),
        [([2, 5], False, False), ([0, 1, 3], True, False), ([0, 1, 3, 4, 6], False, False), ([0, 8], True, True)],
    )
    def test_an_roi_without_meaning_on_the_picture_is_nan(
        self, covered: list[int], defined: bool, has_others: bool
    ) -> None:
        coverage = torch.zeros(1, 9).index_fill(1, torch.tensor(covered), 1.0).view(1, 3, 3)
        among = self.picture.flatten()[None]
        found = sufficiency(vit_of(adding_model(3, 3)), self.powers, coverage, [0], among=among)
        assert not found["whole"].isnan()
        assert [bool(found[name].isnan()) for name in ("roi", "without_roi")] == [not defined] * 2
        assert [bool(found[name].isnan()) for name in ("random", "without_random")] == [not has_others] * 2

    def test_rows_of_equally_many_make_one_pass_a_point(self) -> None:
        student = student_model("class-token")
        seen: list[tuple[int, int]] = []
        handle = student.backbone.blocks[0].register_forward_pre_hook(
            lambda _module, inputs: seen.append(inputs[0].shape[:2])
        )
        few, many = self.picture.flatten(), torch.ones(9, dtype=torch.bool)
        among = torch.stack([many, few, many, few])
        perturbation_curves(
            vit_of(student), noise(4, 1, 24, 24), unequal_maps(4, (3, 3)), [0] * 4, steps=1, among=among
        )
        handle.remove()
        assert seen == [(4, 10), (2, 1), (2, 5)]  # whole; then nothing of two images, the four bars of two


class TestTheModelIsLeftAsItWas:
    @pytest.mark.parametrize("by", ["tokens", "blur"])
    def test_each_part_keeps_its_mode_and_dropout_is_off_meanwhile(self, by: str) -> None:
        student, images = student_model("mean"), noise(2, 1, 24, 24)
        maps = unequal_maps(2, (3, 3))
        expected = perturbation_curves(vit_of(student), images, maps, [0, 1], by=by, steps=9)
        student.train()
        student.backbone.pos_drop.p = 0.5
        student.backbone.blocks[0].eval()
        before = images.clone()
        found = perturbation_curves(vit_of(student), images, maps, [0, 1], by=by, steps=9)
        torch.testing.assert_close(found, expected, equal_nan=True)
        assert student.training
        assert student.backbone.training
        assert student.backbone.pos_drop.training
        assert not student.backbone.blocks[0].training
        assert student.backbone.blocks[1].attn.training
        assert torch.equal(images, before)

    def test_no_gradients_and_no_hooks(self) -> None:
        student, images = student_model("class-token"), noise(2, 1, 24, 24).requires_grad_()
        found = perturbation_curves(vit_of(student), images, unequal_maps(2, (3, 3)).requires_grad_(), [0, 1], steps=3)
        answers = sufficiency(vit_of(student), images, TestSufficiency.coverage[:2], [0, 1])
        assert not found.requires_grad
        assert not any(values.requires_grad for values in answers.values())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in student.parameters())

    def test_its_mode_comes_back_after_an_error(self) -> None:
        student = student_model("mean").train()
        broken = noise(1, 2, 24, 24)  # two channels, where the student has one
        with pytest.raises(RuntimeError):
            perturbation_curves(vit_of(student), broken, unequal_maps(1, (3, 3)), [0], steps=3)
        assert student.backbone.training


def test_blur_is_a_gaussian_cut_off_at_three_deviations_with_borders_replicated() -> None:
    images = noise(2)
    for sigma_px in (0.3, 1.7, 40.0):
        expected = gaussian_filter(images.numpy(), sigma=(0, 0, sigma_px, sigma_px), mode="nearest", truncate=3.0)
        np.testing.assert_allclose(gaussian_blur(images, sigma_px).numpy(), expected, rtol=1e-9, atol=1e-12)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"kind": "deltion"}, "no kind of curve 'deltion'; did you mean 'deletion'"),
            ({"by": "pixels"}, "cannot be withheld by 'pixels'; known are blur, tokens"),
            ({"output": "probability"}, "no output 'probability'"),
            ({"steps": 0}, "6 patches cannot be moved in 0 steps; choose from 1 to 6"),
            ({"steps": 7}, "6 patches cannot be moved in 7 steps"),
            ({"sigma_px": 0.0}, "sigma_px is 0; give a standard deviation over 0"),
            ({"sigma_px": float("nan")}, "sigma_px is nan"),
            ({"columns": [0]}, "there are 2 images and 1 columns"),
            ({"columns": [0, 5]}, "there is no class 5; the model has 5, numbered from 0"),
            ({"columns": [-1, 0]}, "there is no class -1"),
            ({"images": noise(2, 3, 16, 16)}, "images of 16 x 16 px do not fill the model's grid of 2 x 3 patches"),
            ({"maps": torch.zeros(2, 3, 2)}, r"maps are \(2, 3, 2\) for 2 images on a grid of 2 x 3"),
            ({"maps": torch.zeros(1, 2, 3)}, r"give one a row, as \(2, 2, 3\)"),
            ({"maps": torch.tensor([0.0, torch.nan]).view(2, 1, 1).expand(2, 2, 3)}, "row 1 of maps holds NaN"),
        ],
    )
    def test_of_curves(self, changed: dict[str, Any], said: str) -> None:
        given: dict[str, Any] = {"images": noise(2), "maps": unequal_maps(2), "columns": [0, 1], "steps": 3}
        with pytest.raises(InputError, match=said):
            perturbation_curves(vit_of(timm_model("class token")), **{**given, **changed})

    @pytest.mark.parametrize(
        ("coverage", "said"),
        [
            (torch.full((1, 2, 3), 40.0), "coverage holds a value outside 0 to 1"),
            (torch.full((1, 2, 3), -0.1), "coverage holds a value outside 0 to 1"),
            (torch.full((1, 2, 3), torch.inf), "row 0 of coverage holds NaN or infinite values"),
            (torch.zeros(1, 2, 2), r"coverage are \(1, 2, 2\) for 1 images"),
        ],
    )
    def test_of_sufficiency(self, coverage: Tensor, said: str) -> None:
        with pytest.raises(InputError, match=said):
            sufficiency(vit_of(timm_model("class token")), noise(1), coverage, [0])

    @pytest.mark.parametrize(
        ("among", "steps", "said"),
        [
            (torch.ones(2, 5, dtype=torch.bool), 1, r"among is \(2, 5\) for 2 images of 6 patches"),
            (torch.ones(1, 6, dtype=torch.bool), 1, r"give one row each, as \(2, 6\)"),
            (torch.arange(12).view(2, 6) < 6, 1, "row 1 of among names no patch"),
            (torch.arange(12).view(2, 6) < 8, 3, "2 patches cannot be moved in 3 steps; choose from 1 to 2"),
        ],
    )
    def test_of_patches_that_may_be_moved(self, among: Tensor, steps: int, said: str) -> None:
        vit, images = vit_of(timm_model("class token")), noise(2)
        with pytest.raises(InputError, match=said):
            perturbation_curves(vit, images, unequal_maps(2), [0, 1], steps=steps, among=among)
        if "steps" not in said:
            with pytest.raises(InputError, match=said):
                sufficiency(vit, images, unequal_maps(2).abs(), [0, 1], among=among)
            with pytest.raises(InputError, match=said):
                random_maps(vit, images, among=among)

    @pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224"])
    def test_tokens_of_a_whole_grid_cannot_be_left_out(self, name: str) -> None:
        size = 28 if "eva" in name else 32
        sizes = {"img_size": size, "embed_dim": 24, "depth": 1, "num_heads": 2}
        vit: Vit = vit_of(timm.create_model(name, num_classes=2, **sizes))
        maps, images = torch.zeros(1, 2, 2), torch.zeros(1, 3, size, size)
        with pytest.raises(InputError, match=f"tokens cannot be left out of '{name}'.*'blur'"):
            perturbation_curves(vit, images, maps, [0], steps=2)
        with pytest.raises(InputError, match="tokens cannot be left out"):
            sufficiency(vit, images, maps, [0])
        assert perturbation_curves(vit, images, maps, [0], by="blur", steps=2).isfinite().all()
