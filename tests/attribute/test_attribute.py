"""Maps: equal to a plainly written reference, independent of batching, and in the right place of the original."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from mmpkd import registry
from mmpkd.attribute.attribute import attribute, map_method, token_maps
from mmpkd.cohort.geometry import Geometry
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError

FINDINGS = ("nodule", "effusion")
METHOD_OF_HEAD = {"class-token": "attention", "mean": "attention", "patch": "patch"}


def small_student(head: str = "class-token", backbone: str = "vit_tiny_patch16_224", **overrides) -> Student:
    torch.manual_seed(3)
    options = {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2, **overrides}
    return build_student(StudentSettings(backbone=backbone, head=head, **options), FINDINGS).eval()


def noise_images(count: int, size: int = 32) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, size, size), dtype=np.uint8)
    sizes = np.full((count, 2), size)
    return ImageSet(pixels, np.arange(count), sizes, "pad")


def reference_attention(student: Student, image: torch.Tensor, from_class: bool) -> torch.Tensor:
    """One image, step by step: every block's own modules, the last softmax written out."""
    backbone = student.backbone
    x = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(backbone.patch_embed(image[None]))))
    for block in backbone.blocks[:-1]:
        x = block(x)
    attention = backbone.blocks[-1].attn
    heads = attention.num_heads
    q, k, _ = attention.qkv(backbone.blocks[-1].norm1(x))[0].chunk(3, dim=-1)  # (tokens, width) each
    width = q.shape[-1] // heads
    rows = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = attention.q_norm(q[:, part]) @ attention.k_norm(k[:, part]).T / width**0.5
        exponentials = torch.exp(scores - scores.max(dim=1, keepdim=True).values)
        rows.append(exponentials / exponentials.sum(dim=1, keepdim=True))
    matrix = torch.stack(rows).mean(0)  # (tokens, tokens)
    read_from = matrix[0] if from_class else matrix[student.prefix_tokens :].mean(0)
    return read_from[student.prefix_tokens :].reshape(student.grid)


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("vit_tiny_patch16_224", "class-token"),
        ("deit_tiny_distilled_patch16_224", "class-token"),  # two prefix tokens
        ("vit_little_patch16_reg4_gap_256", "mean"),  # registers, no class token
        ("vit_small_patch16_36x1_224", "class-token"),
    ],
)
def test_attention_equals_the_softmax_written_out(backbone, head):
    student = small_student(head, backbone, depth=3).double()
    images = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    method = map_method("attention", student)
    maps = method(student, images)
    assert maps.shape == (2, 2, *student.grid)
    with torch.no_grad():
        for image, found in zip(images, maps, strict=True):
            expected = reference_attention(student, image, from_class=head == "class-token")
            torch.testing.assert_close(found[0].double(), expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(found[1], found[0])


def test_patch_map_pools_to_the_image_logit():
    student = small_student("patch", patch_temperature=0.5)
    images = torch.randn(3, 1, 32, 32)
    maps = map_method("patch", student)(student, images)
    logits = torch.logit(maps.double()).flatten(2)  # (batch, findings, patches)
    pooled = 0.5 * torch.log(torch.exp(logits / 0.5).mean(-1))
    with torch.no_grad():
        torch.testing.assert_close(pooled.float(), student(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
class TestContractOfEveryMethod:
    def test_batch_of_one_equals_batch_of_many(self, head):
        student, images = small_student(head), noise_images(5)
        together = token_maps(student, images).values
        apart = token_maps(student, images, batch_size=1).values
        np.testing.assert_allclose(together.astype(float), apart.astype(float), rtol=2e-3)

    def test_maps_follow_a_permutation_of_the_cases(self, head):
        student, images = small_student(head), noise_images(5)
        order = np.array([3, 0, 4, 1, 2])
        expected = token_maps(student, images).values[order]
        np.testing.assert_allclose(token_maps(student, images, order).values, expected, rtol=2e-3)

    def test_maps_are_non_negative_and_not_constant(self, head):
        values = token_maps(small_student(head), noise_images(4)).values.astype(float)
        assert values.min() >= 0
        assert (values.std(axis=(2, 3)) > 0).all()

    def test_leaves_no_hooks_and_the_students_mode(self, head):
        student = small_student(head).train()
        token_maps(student, noise_images(2))
        assert student.training
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in student.modules())

    def test_tensors_do_not_pile_up(self, head):
        student, images = small_student(head), noise_images(2)
        token_maps(student, images)

        def tensors() -> int:
            gc.collect()
            return sum(1 for thing in gc.get_objects() if type(thing) is torch.Tensor)

        before = tensors()
        for _ in range(100):
            token_maps(student, images)
        assert tensors() <= before

    def test_one_finding_alone_is_its_column_of_all(self, head):
        student, images = small_student(head), noise_images(2)
        both = token_maps(student, images).values
        alone = token_maps(student, images, findings=["effusion"])
        assert alone.findings == ("effusion",)
        np.testing.assert_array_equal(alone.values[:, 0], both[:, 1])


def test_patch_map_is_class_specific_and_attention_is_not():
    assert registry.load("maps", "patch").class_specific
    maps = token_maps(small_student("patch"), noise_images(2)).values
    assert not np.array_equal(maps[:, 0], maps[:, 1])


def test_maps_come_back_in_the_pixels_of_each_original():
    student = small_student()
    pixels = np.zeros((2, 1, 32, 32), np.uint8)
    images = ImageSet(pixels, np.arange(2), np.array([[50, 20], [9, 31]]), "pad")
    first, second = attribute(student, images)
    assert first.shape == (2, 50, 20)
    assert second.shape == (2, 9, 31)


def test_a_hot_token_lands_on_its_own_place_of_the_original():
    token_map = np.zeros((4, 4), np.float32)
    token_map[1, 3] = 1.0  # second row, last column: centre at (87.5%, 37.5%) of the canvas
    geometry = Geometry(height=200, width=400, size_px=32, fit="stretch")
    heat = geometry.map_to_original(token_map)
    rows, columns = np.indices(heat.shape)
    centre_row, centre_column = (rows * heat).sum() / heat.sum(), (columns * heat).sum() / heat.sum()
    assert centre_row == pytest.approx(0.375 * 200, abs=3)
    assert centre_column == pytest.approx(0.875 * 400, abs=25)  # the clamped edge pulls it outwards


def test_what_a_method_cannot_say_is_refused_with_a_sentence():
    with pytest.raises(InputError, match="use the map 'patch'"):
        map_method("attention", small_student("patch"))
    with pytest.raises(InputError, match="needs a student with the patch head"):
        map_method("patch", small_student("class-token"))
    with pytest.raises(InputError, match="did you mean 'attention'"):
        map_method("atention", small_student())
    with pytest.raises(InputError, match="did you mean 'nodule'"):
        token_maps(small_student(), noise_images(1), findings=["nodul"])
