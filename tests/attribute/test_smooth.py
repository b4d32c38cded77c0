"""Smoothing by hand and against scipy; noise-averaged maps against a plain loop over noisy copies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mmpkd.attribute.attribute import map_method
from mmpkd.attribute.contract import MapMethod
from mmpkd.attribute.patch import PatchLogits
from mmpkd.attribute.smooth import NoiseAveraged, Smoothed, noisy, smooth_grid
from mmpkd.attribute.vit import Vit, vit_of
from mmpkd.errors import InputError


class Brightness:
    """A method of one's own: each patch's mean of squared pixels, the same for every class."""

    name = "brightness"
    class_specific = False

    def refuse(self, vit: Vit) -> str | None:
        return None

    def __call__(self, vit: Vit, images: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        squares = torch.nn.functional.adaptive_avg_pool2d((images**2).mean(1, keepdim=True), vit.grid)
        return squares.expand(-1, len(classes), -1, -1)


def ramps(batch: int = 3) -> torch.Tensor:
    """Images of 16 by 24 px whose ranges of values are 1, 2, 3, ..."""
    base = torch.linspace(0, 1, 3 * 16 * 24, dtype=torch.float64).reshape(1, 3, 16, 24)
    return torch.arange(1, batch + 1).reshape(-1, 1, 1, 1) * base


@pytest.fixture(scope="module")
def vit() -> Vit:
    torch.manual_seed(0)
    options = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vit_of(model)


class TestSmoothGrid:
    def test_a_hot_token_spreads_as_the_kernel_says(self) -> None:
        hot = torch.zeros(1, 9, 9, dtype=torch.float64)
        hot[0, 4, 4] = 1
        spread = smooth_grid(hot, 0.5)  # two tokens either way
        weights = [math.exp(-2 * k * k) for k in (-2, -1, 0, 1, 2)]
        weights = [weight / sum(weights) for weight in weights]
        for down, across in ((0, 0), (0, 1), (-1, 2), (2, -2)):
            assert spread[0, 4 + down, 4 + across].item() == pytest.approx(weights[2 + down] * weights[2 + across])
        assert spread[0, 4, 7] == 0

    def test_the_border_mirrors(self) -> None:
        corner = torch.zeros(5, 1, dtype=torch.float64)
        corner[0] = 1
        e = math.exp(-2)
        total = 1 + 2 * e + 2 * e**4
        # What would land on places -1 and -2 lands on 0 and 1.
        expected = [(1 + e) / total, (e + e**4) / total, e**4 / total, 0, 0]
        np.testing.assert_allclose(smooth_grid(corner, 0.5)[:, 0], expected, rtol=1e-12)

    @given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9), st.floats(0.05, 6))
    def test_it_is_scipys_gaussian_with_reflection_and_keeps_the_mass(
        self, seed: int, rows: int, columns: int, sigma: float
    ) -> None:
        maps = np.random.default_rng(seed).exponential(size=(2, rows, columns))
        smoothed = smooth_grid(torch.from_numpy(maps), sigma).numpy()
        expected = np.stack([gaussian_filter(one, sigma, mode="reflect", truncate=4.0) for one in maps])
        np.testing.assert_allclose(smoothed, expected, rtol=1e-9)
        np.testing.assert_allclose(smoothed.sum((1, 2)), maps.sum((1, 2)), rtol=1e-12)

    def test_a_constant_map_stays_and_sigma_0_changes_nothing(self) -> None:
        flat = torch.full((2, 3, 4, 7), 0.3)
        torch.testing.assert_close(smooth_grid(flat, 1.7), flat)
        maps = torch.rand(2, 3, 4, 7)
        assert torch.equal(smooth_grid(maps, 0.0), maps)

    def test_single_precision_stays_single(self) -> None:
        assert smooth_grid(torch.rand(1, 4, 4), 1.0).dtype == torch.float32

    @pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
    def test_what_is_no_sigma_is_refused(self, sigma: float) -> None:
        with pytest.raises(InputError, match="sigma of at least 0 tokens, not"):
            smooth_grid(torch.rand(1, 4, 4), sigma)
        with pytest.raises(InputError, match="sigma of at least 0 tokens, not"):
            Smoothed(Brightness(), sigma)


class TestNoise:
    def test_its_size_is_a_share_of_each_images_range(self) -> None:
        images = ramps()
        change = (noisy(images, 0.1, torch.Generator().manual_seed(2)) - images).double()
        torch.testing.assert_close(change[1], 2 * change[0])
        torch.testing.assert_close(change[2], 3 * change[0])
        assert change[0].std().item() == pytest.approx(0.1, rel=0.1)
        assert change[0].mean().item() == pytest.approx(0, abs=0.01)

    def test_a_constant_image_stays(self) -> None:
        flat = torch.full((1, 1, 8, 8), 0.7)
        assert torch.equal(noisy(flat, 0.5, torch.Generator()), flat)

    def test_it_means_the_same_after_normalisation(self) -> None:
        raw = torch.rand(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        after = noisy((raw - 0.5) / 0.25, 0.2, torch.Generator().manual_seed(3))
        before = noisy(raw, 0.2, torch.Generator().manual_seed(3))
        torch.testing.assert_close(after, (before - 0.5) / 0.25)


class TestWrappers:
    @pytest.mark.parametrize("wrapped", [Smoothed(Brightness()), NoiseAveraged(Brightness())])
    def test_are_map_methods(self, wrapped: MapMethod) -> None:
        assert isinstance(wrapped, MapMethod)
        assert not wrapped.class_specific
        assert wrapped.name.startswith("brightness+")

    def test_take_class_specificity_and_refusals_from_the_method(self, vit: Vit) -> None:
        for wrapped in (Smoothed(PatchLogits()), NoiseAveraged(PatchLogits())):
            assert wrapped.class_specific
            assert "needs a student with the patch head" in str(wrapped.refuse(vit))

    def test_smoothed_maps_are_the_methods_maps_smoothed(self, vit: Vit) -> None:
        images = ramps()
        own = Brightness()(vit, images, [0, 1]).numpy()
        expected = np.stack([gaussian_filter(one, 0.8, mode="reflect") for one in own.reshape(-1, 2, 3)])
        found = Smoothed(Brightness(), 0.8)(vit, images, [0, 1])
        np.testing.assert_allclose(found.reshape(-1, 2, 3), expected, rtol=1e-9)

    def test_the_mean_is_over_copies_with_fresh_noise_each(self, vit: Vit) -> None:
        images = ramps(2)
        rng = torch.Generator().manual_seed(5)
        expected = torch.zeros(2, 1, 2, 3, dtype=torch.float64)
        for _ in range(4):
            noise = torch.randn(3, 16, 24, generator=rng).double()
            expected += Brightness()(vit, torch.stack([images[0] + 0.2 * noise, images[1] + 0.4 * noise]), [0]) / 4
        torch.testing.assert_close(NoiseAveraged(Brightness(), 4, 0.2, seed=5)(vit, images, [0]), expected)

    def test_noise_of_squares_adds_its_variance(self, vit: Vit) -> None:
        """E (x + σ ε)² = x² + σ²: the mean over many copies is known."""
        images = ramps(1)
        images[0, 0, 0, 0], images[0, -1, -1, -1] = 0, 1
        found = NoiseAveraged(Brightness(), 64, 0.5)(vit, images, [0]) - Brightness()(vit, images, [0])
        np.testing.assert_allclose(found, 0.25, rtol=0.1)

    @pytest.mark.parametrize("name", ["legrad", "attention", "grad-cam"])
    def test_no_noise_gives_the_methods_own_maps(self, vit: Vit, name: str) -> None:
        method, images = map_method(name, vit), ramps()
        assert torch.equal(NoiseAveraged(method, noise=0.0)(vit, images, [0, 2]), method(vit, images, [0, 2]))

    @pytest.mark.parametrize("make", [Smoothed, NoiseAveraged])
    def test_a_batch_of_one_equals_a_batch_of_many_in_any_order(self, vit: Vit, make: type) -> None:
        wrapped, images = make(map_method("legrad", vit)), ramps()
        together = wrapped(vit, images, [0, 2])
        assert (together >= 0).all()
        assert together.std() > 0
        apart = torch.cat([wrapped(vit, image[None], [0, 2]) for image in images.flip(0)]).flip(0)
        torch.testing.assert_close(together, apart, rtol=1e-7, atol=1e-12)

    def test_the_seed_decides(self, vit: Vit) -> None:
        maps = [NoiseAveraged(Brightness(), 2, 0.3, seed)(vit, ramps(), [0]) for seed in (1, 1, 2)]
        assert torch.equal(maps[0], maps[1])
        assert not torch.allclose(maps[0], maps[2])

    def test_they_nest(self, vit: Vit) -> None:
        both = Smoothed(NoiseAveraged(Brightness(), 2, 0.3), 0.8)
        inner = NoiseAveraged(Brightness(), 2, 0.3)(vit, ramps(), [0])
        assert both.name == "brightness+noise=0.3+smooth=0.8"
        torch.testing.assert_close(both(vit, ramps(), [0]), smooth_grid(inner, 0.8))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"copies": 0}, "at least 1 noisy copy, not 0"),
            ({"noise": -0.1}, "at least 0, not -0.1"),
            ({"noise": math.nan}, "at least 0, not nan"),
        ],
    )
    def test_what_is_no_noise_is_refused(self, options: dict[str, float], said: str) -> None:
        with pytest.raises(InputError, match=said):
            NoiseAveraged(Brightness(), **options)
