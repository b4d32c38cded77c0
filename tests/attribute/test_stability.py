"""Changes of the image and the way back: by hand, pixel by pixel, and on a model that is blind to places."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.attribute.attribute import explain
from mmpkd.attribute.stability import Change, Noise, Shift, changed_maps, changed_token_maps
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError
from mmpkd.evaluate.similarity import ssim


def small_student(head: str = "class-token") -> Student:
    torch.manual_seed(3)
    settings = StudentSettings(head=head, image_size_px=32, patch_px=8, width=32, depth=2, heads=2)
    student = build_student(settings, ("nodule", "effusion")).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return student


def noise_images(count: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 32, 32), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count), np.full((count, 2), 32), "pad")


def grid(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)[None, None]


class TestShift:
    def test_moves_right_and_down_and_replicates_the_border(self) -> None:
        image = grid([1, 2, 3], [4, 5, 6], [7, 8, 9])
        assert torch.equal(Shift(dx_px=1).apply(image), grid([1, 1, 2], [4, 4, 5], [7, 7, 8]))
        assert torch.equal(Shift(dy_px=-1).apply(image), grid([4, 5, 6], [7, 8, 9], [7, 8, 9]))
        assert torch.equal(Shift(-2, 1).apply(image), grid([3, 3, 3], [3, 3, 3], [6, 6, 6]))
        assert torch.equal(Shift().apply(image), image)

    def test_by_whole_patches_drops_what_left_and_what_entered(self) -> None:
        reference = grid([1, 2, 3], [4, 5, 6], [7, 8, 9])
        changed = grid([10, 20, 30], [40, 50, 60], [70, 80, 90])
        before, after = Shift(dx_px=2).compare(reference, changed, (6, 6))  # one patch to the right
        assert torch.equal(before, grid([1, 2], [4, 5], [7, 8]))
        assert torch.equal(after, grid([20, 30], [50, 60], [80, 90]))
        before, after = Shift(dx_px=-4, dy_px=2).compare(reference, changed, (6, 6))
        assert torch.equal(before, grid([3], [6]))
        assert torch.equal(after, grid([40], [70]))

    def test_by_part_of_a_patch_reads_between_token_centres(self) -> None:
        """Patches of 4 px. One pixel right: the first token of the changed image holds border, the last one's left."""
        reference, changed = grid([1, 2, 3, 4]), grid([10, 20, 40, 80])
        before, after = Shift(dx_px=1).compare(reference, changed, (4, 16))
        assert torch.equal(before, grid([2, 3]))
        torch.testing.assert_close(after, grid([0.75 * 20 + 0.25 * 40, 0.75 * 40 + 0.25 * 80]))
        before, after = Shift(dx_px=-1).compare(reference, changed, (4, 16))
        assert torch.equal(before, grid([2, 3]))
        torch.testing.assert_close(after, grid([0.25 * 10 + 0.75 * 20, 0.25 * 20 + 0.75 * 40]))

    @given(st.integers(-12, 12), st.integers(-12, 12), st.integers(1, 5), st.integers(4, 9), st.integers(4, 9))
    def test_compares_the_tokens_that_both_show_at_the_place_in_the_picture(
        self, dx: int, dy: int, patch: int, rows: int, columns: int
    ) -> None:
        """A map that says where in the picture a token lies comes back as it was, on tokens found pixel by pixel."""
        kept_rows, kept_columns = both_show(dy, patch, rows), both_show(dx, patch, columns)
        places = [torch.arange(count, dtype=torch.float64) for count in (rows, columns)]
        reference = (100 * places[0][:, None] + places[1])[None, None]
        changed = reference - 100 * dy / patch - dx / patch
        shift, size = Shift(dx, dy), (patch * rows, patch * columns)
        if not kept_rows or not kept_columns:
            with pytest.raises(InputError, match="leaves no token that both images show"):
                shift.compare(reference, changed, size)
            return
        before, after = shift.compare(reference, changed, size)
        assert torch.equal(before, reference[:, :, kept_rows][..., kept_columns])
        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)

    def test_round_trip_on_a_placeless_model_is_exact(self) -> None:
        """Nothing but background leaves or enters, so the same tokens meet, one patch further."""
        student = small_student().double()
        with torch.no_grad():
            student.backbone.pos_embed.zero_()
        images = torch.full((2, 1, 32, 32), -0.4, dtype=torch.float64)
        lesions = torch.randn(2, 1, 16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        images[:, :, 8:24, 8:16] = lesions
        changes = [Shift(dx_px=8), Shift(dx_px=-8, dy_px=8), Shift(dx_px=16, dy_px=-8)]
        for method in ("legrad", "rollout", "attention-gradient"):
            for pair in changed_maps(student, images, changes, method):
                np.testing.assert_allclose(pair.changed, pair.reference, rtol=1e-9, atol=1e-12)
                assert pair.reference.std() > 0

    def test_that_leaves_nothing_in_common_is_refused(self) -> None:
        with pytest.raises(
            InputError, match="shift of 26 px leaves no token that both images show, on 4 tokens over 32"
        ):
            changed_maps(small_student(), torch.zeros(1, 1, 32, 32), [Shift(dx_px=26)], "legrad")
        with pytest.raises(InputError, match="a shift of -99 px leaves"):
            changed_maps(small_student(), torch.zeros(1, 1, 32, 32), [Shift(dy_px=-99)], "legrad")


def both_show(shift: int, patch: int, tokens: int) -> list[int]:
    """Return the tokens whose pixels stay in the image, and land among tokens that hold the picture alone."""
    side = patch * tokens
    filled = [0 <= pixel - shift < side for pixel in range(side)]
    whole = [all(filled[patch * token : patch * token + patch]) for token in range(tokens)]
    found = []
    for token in range(tokens):
        landed = {(pixel + shift) // patch for pixel in range(patch * token, patch * token + patch)}
        if all(0 <= place < tokens and whole[place] for place in landed):
            found.append(token)
    return found


class TestNoise:
    def test_is_a_share_of_each_images_range_and_the_same_for_each(self) -> None:
        images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(4))
        images[:, :, 0, 0], images[:, :, 0, 1] = 0.0, 1.0
        images[1] = 4 * images[1] - 2
        change = Noise(0.05, seed=7).apply(images) - images
        assert change[0].std().item() == pytest.approx(0.05, rel=0.1)
        torch.testing.assert_close(change[1], 4 * change[0], rtol=1e-4, atol=1e-5)
        assert torch.equal(Noise(0.05, seed=7).apply(images[1:]), Noise(0.05, seed=7).apply(images)[1:])
        assert not torch.equal(Noise(0.05, seed=8).apply(images), Noise(0.05, seed=7).apply(images))

    def test_moves_nothing(self) -> None:
        reference, changed = torch.rand(2, 1, 1, 3, 4)
        before, after = Noise(0.1).compare(reference, changed, (24, 32))
        assert torch.equal(before, reference)
        assert torch.equal(after, changed)

    @pytest.mark.parametrize("share", [-0.1, math.nan, math.inf])
    def test_that_is_no_share_is_refused(self, share: float) -> None:
        with pytest.raises(InputError, match="share of the image's range, at least 0, not"):
            Noise(share)


class TestChangedMaps:
    def test_are_the_maps_before_and_of_each_changed_image(self) -> None:
        student = small_student()
        images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
        given_images = images.clone()
        shifted, noisy, same = changed_maps(
            student, images, [Shift(dx_px=8), Noise(0.2, seed=1), Noise(0.0)], "legrad", ["effusion"]
        )
        own = explain(student, images, "legrad", [1], pixels=False)
        moved = torch.cat([images[..., :1].expand(-1, -1, -1, 8), images[..., :24]], dim=-1)
        np.testing.assert_array_equal(shifted.reference, own[..., :3])
        np.testing.assert_array_equal(shifted.changed, explain(student, moved, "legrad", [1], pixels=False)[..., 1:])
        np.testing.assert_array_equal(noisy.reference, own)
        assert noisy.changed.shape == (3, 1, 4, 4)
        assert 0 < ssim(noisy.reference[:, 0], noisy.changed[:, 0]).mean() < 0.999
        np.testing.assert_array_equal(same.changed, own)
        assert torch.equal(images, given_images)

    def test_of_a_plain_timm_model_with_a_grid_that_is_not_square(self) -> None:
        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", num_classes=3, img_size=(16, 32), patch_size=8, embed_dim=16, depth=1, num_heads=2
        )
        images = torch.randn(2, 3, 16, 32)
        (pair,) = changed_maps(model, images, [Shift(dx_px=-4)], "rollout", [2, 0])
        assert pair.reference.shape == pair.changed.shape == (2, 2, 2, 2)
        assert model.training

    def test_what_a_method_or_model_cannot_say_is_refused(self) -> None:
        with pytest.raises(InputError, match="use the map 'patch'"):
            changed_maps(small_student("patch"), torch.zeros(1, 1, 32, 32), [Noise(0.1)], "attention")

    @pytest.mark.parametrize(("change", "name"), [(Shift(4, -2), "shift=4,-2"), (Noise(0.05), "noise=0.05")])
    def test_changes_are_named_data(self, change: Change, name: str) -> None:
        assert isinstance(change, Change)
        assert change.name == name
        assert {change, Shift(4, -2), Noise(0.05)} == {Shift(4, -2), Noise(0.05)}


class TestChangedTokenMaps:
    changes = (Shift(dx_px=3, dy_px=-8), Noise(0.1))

    @pytest.mark.parametrize("head", ["class-token", "patch"])
    def test_do_not_depend_on_the_batch_or_its_order(self, head: str) -> None:
        student, images = small_student(head), noise_images(5)
        together = changed_token_maps(student, images, self.changes)
        order = np.array([3, 0, 4])
        apart = changed_token_maps(student, images, self.changes, order, batch_size=2)
        for whole, part, side in zip(together, apart, ((3, 2), (4, 4)), strict=True):
            assert whole.reference.shape == whole.changed.shape == (5, 2, *side)
            np.testing.assert_allclose(part.reference, whole.reference[order], rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(part.changed, whole.changed[order], rtol=1e-4, atol=1e-7)

    def test_are_those_of_the_prepared_images(self) -> None:
        student, images = small_student(), noise_images(2)
        found = changed_token_maps(student, images, self.changes, method="legrad", findings=["effusion"])
        prepared = (torch.from_numpy(images.pixels).float() / 255 - 0.5) / 0.25
        expected = changed_maps(student, prepared, self.changes, "legrad", [1])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.reference, other.reference, rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(one.changed, other.changed, rtol=1e-4, atol=1e-7)

    def test_the_students_mode_is_restored(self) -> None:
        student = small_student().train()
        changed_token_maps(student, noise_images(1), self.changes)
        assert student.training

    def test_no_case_and_unknown_findings_are_refused(self) -> None:
        with pytest.raises(InputError, match="no case whose maps could be compared"):
            changed_token_maps(small_student(), noise_images(2), self.changes, np.array([], int))
        with pytest.raises(InputError, match="did you mean 'nodule'"):
            changed_token_maps(small_student(), noise_images(2), self.changes, findings=["nodul"])
