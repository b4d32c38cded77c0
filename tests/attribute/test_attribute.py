"""Maps: equal to a plainly written reference, independent of batching, and in the right place of the original."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from mmpkd import registry
from mmpkd.attribute.attribute import attribute, explain, token_maps
from mmpkd.attribute.smooth import smooth_grid
from mmpkd.cohort.geometry import Geometry
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError

FINDINGS = ("nodule", "effusion")


def small_student(head: str = "class-token", backbone: str = "vit_tiny_patch16_224", **overrides) -> Student:
    torch.manual_seed(3)
    options = {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2, **overrides}
    student = build_student(StudentSettings(backbone=backbone, head=head, **options), FINDINGS).eval()
    with torch.no_grad():  # fresh weights are so small that every map is flat
        for parameter in student.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return student


def noise_images(count: int, size: int = 32) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, size, size), dtype=np.uint8)
    sizes = np.full((count, 2), size)
    return ImageSet(pixels, np.arange(count), sizes, "pad")


def test_patch_map_pools_to_the_image_logit():
    student = small_student("patch", patch_temperature=0.5)
    images = torch.randn(3, 1, 32, 32)
    maps = explain(student, images, "patch", pixels=False)
    logits = torch.logit(maps.double()).flatten(2)  # (batch, findings, patches)
    pooled = 0.5 * torch.log(torch.exp(logits / 0.5).mean(-1))
    with torch.no_grad():
        torch.testing.assert_close(pooled.float(), student(images), rtol=1e-4, atol=1e-5)


PAIRS = [
    (head, method)
    for head in ("class-token", "mean", "patch")
    for method in (*registry.names("maps"), "attention=max")
    if method != "patch" and not (head == "patch" and method.startswith("attention") and method != "attention-gradient")
] + [("patch", "patch")]


@pytest.mark.parametrize(("head", "method"), PAIRS)
class TestContractOfEveryMethod:
    def test_batch_of_one_equals_batch_of_many_in_any_order(self, head, method):
        student, images = small_student(head), noise_images(5)
        together = token_maps(student, images, method=method).values.astype(float)
        apart = token_maps(student, images, method=method, batch_size=1).values.astype(float)
        np.testing.assert_allclose(together, apart, rtol=4e-3, atol=1e-6)
        order = np.array([3, 0, 4, 1, 2])
        permuted = token_maps(student, images, order, method).values.astype(float)
        np.testing.assert_allclose(permuted, together[order], rtol=4e-3, atol=1e-6)

    def test_maps_are_non_negative_and_not_constant(self, head, method):
        values = token_maps(small_student(head), noise_images(4), method=method).values.astype(float)
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert (values.std(axis=(2, 3)) > 0).mean() > 0.7  # Grad-CAM's positive part may be empty

    def test_leaves_no_hooks_no_gradients_and_the_students_mode(self, head, method):
        student = small_student(head).train()
        token_maps(student, noise_images(2), method=method)
        assert student.training
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in student.modules())
        assert all(parameter.grad is None for parameter in student.parameters())

    def test_one_finding_alone_is_its_column_of_all(self, head, method):
        student, images = small_student(head), noise_images(2)
        both = token_maps(student, images, method=method)
        alone = token_maps(student, images, method=method, findings=["effusion"])
        assert alone.findings == ("effusion",)
        expected = both.values[:, 1].astype(float)
        np.testing.assert_allclose(alone.values[:, 0].astype(float), expected, rtol=2e-3, atol=1e-6)
        assert alone.class_specific == (not np.array_equal(both.values[:, 0], both.values[:, 1]))

    def test_the_map_follows_a_lesion(self, head, method):
        """Positions aside, a moved patch moves its map: the student is blind to places, the lesion stands out."""
        student = placeless(small_student(head)).double()
        where = [(0, 1), (2, 3), (3, 0)]
        images = torch.full((3, 1, 32, 32), -0.4, dtype=torch.float64)
        texture = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        for row, (down, across) in enumerate(where):
            images[row, 0, 8 * down : 8 * down + 8, 8 * across : 8 * across + 8] = texture
        maps = explain(student, images, method, pixels=False)
        lesion = torch.stack([maps[row, :, down, across] for row, (down, across) in enumerate(where)])
        torch.testing.assert_close(lesion, lesion[:1].expand_as(lesion), rtol=1e-6, atol=1e-9)
        for row, (down, across) in enumerate(where):
            others = maps[row].flatten(1)[:, torch.arange(16) != 4 * down + across]
            torch.testing.assert_close(others, others[:, :1].expand_as(others), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", registry.names("maps"))
def test_tensors_do_not_pile_up(method):
    student, images = small_student("patch" if method == "patch" else "class-token"), noise_images(1)
    token_maps(student, images, method=method)

    def tensors() -> int:
        gc.collect()
        return sum(1 for thing in gc.get_objects() if type(thing) is torch.Tensor)

    before = tensors()
    for _ in range(100):
        token_maps(student, images, method=method)
    assert tensors() <= before


def placeless(student: Student) -> Student:
    """Take the position embedding away, so that all patches are alike but for what they show."""
    with torch.no_grad():
        student.backbone.pos_embed.zero_()
    return student


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
        token_maps(small_student("patch"), noise_images(1), method="attention")
    with pytest.raises(InputError, match="needs a student with the patch head"):
        token_maps(small_student("class-token"), noise_images(1), method="patch")
    with pytest.raises(InputError, match="did you mean 'attention'"):
        token_maps(small_student(), noise_images(1), method="atention")
    with pytest.raises(InputError, match="did you mean 'nodule'"):
        token_maps(small_student(), noise_images(1), findings=["nodul"])


def test_explain_enlarges_to_the_images_and_names_findings():
    student = small_student()
    images = torch.randn(2, 1, 32, 32)
    maps = explain(student, images, "legrad", ["effusion"])
    assert maps.shape == (2, 1, 32, 32)
    torch.testing.assert_close(maps, explain(student, images, "legrad", [1]))


def test_tiny_and_huge_maps_keep_their_shape_in_half_precision():
    from mmpkd.attribute.attribute import _in_half

    shape = torch.rand(1, 1, 4, 4) + 0.1
    for scale in (1e-12, 1e-3, 1.0, 1e6):
        kept = _in_half(scale * shape).half().double()
        torch.testing.assert_close(kept / kept.sum(), (shape / shape.sum()).double(), rtol=2e-3, atol=1e-4)
    assert _in_half(torch.zeros(1, 1, 2, 2)).sum() == 0


def test_options_of_a_method_are_applied_in_the_order_of_its_name():
    student, images = small_student(), torch.randn(2, 1, 32, 32)
    plain = explain(student, images, "legrad", pixels=False)
    smooth = explain(student, images, "legrad+smooth=0.8", pixels=False)
    torch.testing.assert_close(smooth, smooth_grid(plain, 0.8))
    averaged = explain(student, images, "attention=max+noise=0.1+smooth=0.8", pixels=False)
    torch.testing.assert_close(
        averaged, smooth_grid(explain(student, images, "attention=max+noise=0.1", pixels=False), 0.8)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("legrad+smoth=1", "did you mean 'smooth'"),
        ("legrad+smooth", "needs a number, as smooth=1"),
        ("legrad+smooth=-1", "at least 0 tokens"),
        ("legrad+noise=nan", "at least 0, not nan"),
    ],
)
def test_wrong_options_of_a_method_are_refused_with_a_sentence(name, said):
    with pytest.raises(InputError, match=said):
        explain(small_student(), torch.zeros(1, 1, 32, 32), name)
