"""Cascades: the right weights at each depth, the model untouched, and maps that tell a model from an edge detector."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from mmpkd import registry
from mmpkd.attribute.attribute import explain
from mmpkd.attribute.randomise import cascade, cascade_maps, depths, fresh_weights, randomised
from mmpkd.attribute.vit import Vit
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError
from mmpkd.evaluate.similarity import spearman

DEPTHS = ["head", "norm", "blocks.1", "blocks.0", "embedding"]
SMALL = {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2}


def small_student(head: str = "class-token") -> Student:
    """A student whose weights stand for learned ones: wide, and unlike those of any fresh start."""
    torch.manual_seed(3)
    student = build_student(StudentSettings(head=head, **SMALL), ("nodule", "effusion")).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return student


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def differing(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def depth_by_prefix(name: str) -> str:
    """The depths of a small student, written out."""
    for prefix, depth in {
        "head.": "head",
        "backbone.norm.": "norm",
        "backbone.blocks.1.": "blocks.1",
        "backbone.blocks.0.": "blocks.0",
        "backbone.patch_embed.": "embedding",
        "backbone.pos_embed": "embedding",
        "backbone.cls_token": "embedding",
    }.items():
        if name.startswith(prefix):
            return depth
    raise AssertionError(name)


class TestDepths:
    def test_of_a_student_go_from_the_head_down(self) -> None:
        student = small_student()
        found = depths(student)
        assert list(found) == DEPTHS
        for depth, names in found.items():
            assert set(names) == {name for name in student.state_dict() if depth_by_prefix(name) == depth}

    @pytest.mark.parametrize(
        ("name", "options", "above", "embedding"),
        [
            (
                "deit_tiny_distilled_patch16_224",
                {},
                {"head": {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}},
                {"cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"},
            ),
            (
                "vit_little_patch16_reg4_gap_256",
                {},
                {"norm": {"fc_norm.weight", "fc_norm.bias"}},
                {"reg_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"},
            ),
            (
                "beit_base_patch16_224",
                {"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False},
                {"norm": {"fc_norm.weight", "fc_norm.bias"}},
                {
                    "cls_token",
                    "patch_embed.proj.weight",
                    "patch_embed.proj.bias",
                    "rel_pos_bias.relative_position_bias_table",
                },
            ),
            (
                "vit_base_patch16_clip_224",
                {},
                {"norm": {"norm.weight", "norm.bias"}},
                {"cls_token", "pos_embed", "patch_embed.proj.weight", "norm_pre.weight", "norm_pre.bias"},
            ),
        ],
    )
    def test_of_timm_models_hold_every_weight_once(
        self, name: str, options: dict[str, Any], above: dict[str, set[str]], embedding: set[str]
    ) -> None:
        model = timm.create_model(name, num_classes=3, img_size=32, embed_dim=16, depth=2, num_heads=2, **options)
        found = depths(model)
        assert list(found) == DEPTHS
        assert sorted(weight for names in found.values() for weight in names) == sorted(dict(model.named_parameters()))
        assert set(found["embedding"]) == embedding
        for depth, names in above.items():
            assert set(found[depth]) == names

    def test_attention_pooling_lies_between_head_and_norm(self) -> None:
        model = timm.create_model(
            "vit_base_patch16_siglip_224", num_classes=3, img_size=32, embed_dim=16, depth=1, num_heads=2
        )
        found = depths(model)
        assert list(found) == ["head", "attn_pool", "norm", "blocks.0", "embedding"]
        assert all(name.startswith("attn_pool.") for name in found["attn_pool"])

    def test_more_than_ten_blocks_are_counted_down_by_number(self) -> None:
        model = timm.create_model(
            "vit_tiny_patch16_224", num_classes=2, img_size=32, embed_dim=8, depth=12, num_heads=1
        )
        assert list(depths(model))[2:-1] == [f"blocks.{block}" for block in range(11, -1, -1)]


@pytest.mark.parametrize("by", ["shuffle", "reinitialise"])
class TestCascade:
    def test_goes_down_cumulatively(self, by: str) -> None:
        student = small_student()
        before = weights_of(student)
        reached: list[str] = []
        for depth, changed in cascade(student, by):
            reached.append(depth)
            assert isinstance(changed, Student)
            assert differing(changed, before) == {name for name in before if depth_by_prefix(name) in reached}
        assert reached == DEPTHS

    def test_goes_one_depth_at_a_time_when_independent(self, by: str) -> None:
        student = small_student()
        before = weights_of(student)
        for depth, changed in cascade(student, by, independent=True):
            assert differing(changed, before) == {name for name in before if depth_by_prefix(name) == depth}

    def test_both_cascades_give_a_depth_the_same_weights(self, by: str) -> None:
        student = small_student()
        last = [weights_of(changed) for _, changed in cascade(student, by, seed=4)][-1]
        for depth, changed in cascade(student, by, seed=4, independent=True):
            for name, value in changed.state_dict().items():
                assert depth_by_prefix(name) != depth or torch.equal(value, last[name])
        assert not differing(randomised(student, by, seed=4), last)

    def test_the_model_stays_as_it_was_also_after_an_exception(self, by: str) -> None:
        student = small_student().train()
        student.backbone.blocks[0].eval()
        before, modes = weights_of(student), [module.training for module in student.modules()]
        random_state = torch.get_rng_state()

        def stop_midway() -> None:
            for depth, changed in cascade(student, by):
                assert torch.is_grad_enabled()
                assert not any(module.training for module in changed.modules())
                if depth == "blocks.1":
                    raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            stop_midway()
        list(cascade(student, by, independent=True))
        randomised(student, by)
        assert not differing(student, before)
        assert [module.training for module in student.modules()] == modes
        assert all(parameter.grad is None and parameter.requires_grad for parameter in student.parameters())
        assert torch.equal(torch.get_rng_state(), random_state)

    def test_the_seed_decides(self, by: str) -> None:
        student = small_student()
        first = weights_of(randomised(student, by, seed=1))
        assert not differing(randomised(student, by, seed=1), first)
        other = differing(randomised(student, by, seed=2), first)
        assert {name for name in first if first[name].ndim == 2} <= other


def test_shuffled_tensors_keep_their_values_and_lose_their_places() -> None:
    student = small_student()
    for name, shuffled in fresh_weights(student, "shuffle").items():
        own = student.state_dict()[name]
        assert shuffled.shape == own.shape
        assert torch.equal(shuffled.flatten().sort().values, own.flatten().sort().values)
        assert (shuffled == own).float().mean() < 0.2


def test_reinitialised_weights_are_timms_initial_ones_whatever_was_pretrained() -> None:
    """Truncated normal of deviation 0.02 for matrices, biases 0, norms 1; nothing is fetched, nothing is kept."""
    student = small_student()
    student.settings = student.settings.model_copy(update={"pretrained": True})
    fresh = fresh_weights(student, "reinitialise")
    assert fresh["backbone.blocks.1.mlp.fc1.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert fresh["head.linear.weight"].std().item() == pytest.approx(0.02, rel=0.3)
    assert fresh["backbone.blocks.0.attn.qkv.bias"].abs().max() == 0
    assert torch.equal(fresh["backbone.norm.weight"], torch.ones(32))


def test_reinitialised_weights_are_not_those_that_a_training_of_the_seed_starts_from() -> None:
    from mmpkd.distil.batches import student_seed

    student = small_student()
    torch.manual_seed(student_seed(0))
    start = build_student(student.settings, student.findings).state_dict()
    fresh = fresh_weights(student, "reinitialise", seed=0)
    pair = torch.stack([start["backbone.pos_embed"].flatten(), fresh["backbone.pos_embed"].flatten()])
    assert abs(torch.corrcoef(pair)[0, 1].item()) < 0.2


def test_a_timm_model_takes_its_fresh_weights_from_a_second_one() -> None:
    options = {"num_classes": 3, "img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model, second = (timm.create_model("vit_tiny_patch16_224", **options) for _ in range(2))
    before, fresh = weights_of(model), weights_of(second)
    for depth, changed in cascade(model, by=second):
        if depth == "norm":
            assert torch.equal(changed.head.weight, fresh["head.weight"])
            assert torch.equal(changed.pos_embed, before["pos_embed"])
    assert not differing(changed, fresh)
    assert not differing(model, before)
    assert not differing(second, fresh)


def test_a_single_precision_start_fills_a_double_precision_model() -> None:
    changed = randomised(small_student().double(), "reinitialise")
    assert {parameter.dtype for parameter in changed.parameters()} == {torch.float64}


class Edges:
    """Size of the picture's own gradient, averaged over patches: it looks at no weight."""

    name = "edges"
    class_specific = False

    def refuse(self, vit: Vit) -> str | None:
        return None

    def __call__(self, vit: Vit, images: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        steps = images.diff(dim=-1, append=images[..., -1:]).abs().mean(1, keepdim=True)
        return nn.functional.adaptive_avg_pool2d(steps, vit.grid).expand(-1, len(classes), -1, -1)


@pytest.fixture
def _edges_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Edges if name == "edges" else known(kind, name))


def alike_by_depth(names: tuple[str, ...], maps: np.ndarray) -> dict[str, float]:
    flat = maps.reshape(len(names), -1, *maps.shape[-2:])
    return {name: float(spearman(flat[0], changed).mean()) for name, changed in zip(names, flat, strict=True)}


@pytest.mark.usefixtures("_edges_are_registered")
class TestCascadeMaps:
    images = torch.rand(12, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 4 - 2

    @pytest.mark.parametrize("by", ["shuffle", "reinitialise"])
    def test_tell_a_method_that_ignores_the_weights_from_one_that_needs_them(self, by: str) -> None:
        student = small_student()
        edges = alike_by_depth(*cascade_maps(student, self.images, "edges", by=by))
        assert list(edges) == ["unchanged", *DEPTHS]
        assert list(edges.values()) == pytest.approx([1.0] * 6)
        learned = alike_by_depth(*cascade_maps(student, self.images, "legrad", by=by))
        assert learned["unchanged"] == pytest.approx(1.0)
        assert abs(learned["embedding"]) < 0.2

    def test_what_lies_above_a_methods_reading_does_not_matter(self) -> None:
        """The last block's attention sees neither the last norm nor the head; the patch head's map is the head's."""
        names, maps = cascade_maps(small_student(), self.images, "attention")
        np.testing.assert_array_equal(maps[names.index("norm")], maps[0])
        assert not np.allclose(maps[names.index("blocks.1")], maps[0])
        names, maps = cascade_maps(small_student("patch"), self.images, "patch")
        assert not np.allclose(maps[names.index("head")], maps[0])

    @pytest.mark.parametrize("independent", [False, True])
    def test_are_the_maps_of_each_randomised_model(self, independent: bool) -> None:
        student, images = small_student(), self.images[:2]
        names, maps = cascade_maps(student, images, "legrad", ["effusion"], seed=5, independent=independent)
        assert maps.shape == (6, 2, 1, 4, 4)
        np.testing.assert_array_equal(maps[0], explain(student, images, "legrad", [1], pixels=False))
        by_hand = copy.deepcopy(student)
        fresh, own = fresh_weights(student, "shuffle", seed=5), weights_of(student)
        for place, depth in enumerate(names[1:], start=1):
            for name, weight in by_hand.named_parameters():
                if depth_by_prefix(name) == depth:
                    weight.data.copy_(fresh[name])
                elif independent:
                    weight.data.copy_(own[name])
            np.testing.assert_array_equal(maps[place], explain(by_hand, images, "legrad", [1], pixels=False))

    def test_of_a_plain_timm_model_come_for_classes_by_number(self) -> None:
        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", num_classes=3, img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2
        )
        names, maps = cascade_maps(model, torch.randn(2, 3, 32, 32), "grad-cam", [2, 0])
        assert names == ("unchanged", "head", "norm", "blocks.0", "embedding")
        assert maps.shape == (5, 2, 2, 4, 4)
        assert model.training


class TestRefusals:
    def test_an_unknown_way_names_the_known_ones(self) -> None:
        with pytest.raises(InputError, match="not randomised by 'shufle'; did you mean 'shuffle'"):
            cascade(small_student(), "shufle")

    def test_a_plain_model_cannot_be_rebuilt(self) -> None:
        model = timm.create_model("vit_tiny_patch16_224", num_classes=2, img_size=32, depth=1)
        with pytest.raises(InputError, match="give a second model, freshly built"):
            cascade(model, "reinitialise")

    def test_a_second_model_of_other_shape_is_refused_by_weight(self) -> None:
        options = {"num_classes": 2, "img_size": 32, "embed_dim": 16, "num_heads": 2}
        model = timm.create_model("vit_tiny_patch16_224", depth=2, **options)
        shallow = timm.create_model("vit_tiny_patch16_224", depth=1, **options)
        with pytest.raises(InputError, match=r"'blocks.1.norm1.weight' has shape \(16,\) and is not there"):
            cascade(model, shallow)
        more = timm.create_model("vit_tiny_patch16_224", depth=2, **{**options, "num_classes": 5})
        with pytest.raises(InputError, match=r"'head.weight' has shape \(2, 16\) and is there with shape \(5, 16\)"):
            randomised(model, more)

    def test_a_model_without_maps_is_refused_before_anything_is_yielded(self) -> None:
        with torch.device("meta"):
            swin = timm.create_model("swin_tiny_patch4_window7_224")
        with pytest.raises(InputError, match="its tokens do not all attend to each other"):
            cascade(swin)

    def test_an_unknown_method_or_finding_is_refused(self) -> None:
        with pytest.raises(InputError, match="did you mean 'legrad'"):
            cascade_maps(small_student(), torch.zeros(1, 1, 32, 32), "legrd")
        with pytest.raises(InputError, match="did you mean 'nodule'"):
            cascade_maps(small_student(), torch.zeros(1, 1, 32, 32), "legrad", ["nodul"])
