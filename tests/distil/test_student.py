import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from mmpkd.distil.heads import PatchHead
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import build_student, explicit_attention
from mmpkd.errors import InputError


def _images(settings, count=3):
    size = settings.image_size_px
    return torch.randn(count, settings.channels, size, size, generator=torch.Generator().manual_seed(0))


def _settings(**changes):
    return StudentSettings(**{"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 2, "heads": 2, **changes})


def test_overrides_reach_the_backbone():
    student = build_student(_settings(), ["a", "b", "c"])
    assert (len(student.backbone.blocks), student.backbone.embed_dim) == (2, 16)
    assert (student.grid, student.prefix_tokens) == ((4, 4), 1)
    assert student.tokens(_images(student.settings)).shape == (3, 17, 16)
    assert student(_images(student.settings)).shape == (3, 3)


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [
        ({"backbone": "vit_tiny_patch16_224", "head": "class-token"}, 1),
        ({"backbone": "vit_tiny_patch16_224", "head": "patch", "channels": 3}, 1),
        ({"backbone": "vit_small_patch14_reg4_dinov2", "head": "class-token"}, 5),
        ({"backbone": "vit_base_patch16_siglip_224", "head": "mean"}, 0),
        ({"backbone": "deit_tiny_distilled_patch16_224", "head": "patch"}, 2),
        ({"backbone": "eva02_tiny_patch14_224", "head": "mean"}, 1),
    ],
)
def test_prefix_tokens_are_read_from_the_backbone(changes, prefix):
    student = build_student(_settings(**changes), ["a"])
    assert student.prefix_tokens == prefix
    assert student.tokens(_images(student.settings)).shape[1] == prefix + 16
    assert student(_images(student.settings)).shape == (3, 1)


def test_tokens_are_normed_also_where_the_backbone_norms_after_pooling():
    student = build_student(_settings(backbone="vit_base_patch16_rpn_224", head="mean"), ["a"])
    tokens = student.tokens(_images(student.settings) * 50)
    rms = tokens.pow(2).mean(-1).sqrt()
    torch.testing.assert_close(rms, torch.ones_like(rms), atol=0.05, rtol=0)


def test_same_random_state_same_weights():
    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        weights.append(build_student(_settings(), ["a"]).head.linear.weight)
    torch.testing.assert_close(weights[0], weights[1])


def test_prepare_scales_and_normalises_bytes():
    student = build_student(_settings(), ["a"])
    pixels = torch.full((1, 1, 32, 32), 128, dtype=torch.uint8)
    assert student.prepare(pixels)[0, 0, 0, 0].item() == pytest.approx((128 / 255 - 0.5) / 0.25, abs=1e-6)
    assert pixels[0, 0, 0, 0].item() == 128


def test_logits_stay_in_single_precision_under_autocast():
    student = build_student(_settings(head="patch"), ["a"])
    with torch.autocast("cpu", torch.bfloat16):
        assert student(_images(student.settings)).dtype == torch.float32


def test_explicit_attention_is_the_same_function_and_is_undone():
    student, other = build_student(_settings(), ["a"]), build_student(_settings(), ["a"])
    images = _images(student.settings)
    fused = student(images)
    with explicit_attention(student, True):
        assert not any(block.attn.fused_attn for block in student.backbone.blocks)
        assert all(block.attn.fused_attn for block in other.backbone.blocks)
        torch.testing.assert_close(student(images), fused, atol=1e-5, rtol=1e-5)
    assert all(block.attn.fused_attn for block in student.backbone.blocks)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"backbone": "vit_tiny_patch16_244"},
            "timm has no model 'vit_tiny_patch16_244'; did you mean 'vit_tiny",
        ),
        ({"backbone": "xyzzy"}, "timm has no model 'xyzzy'; list the names"),
        ({"backbone": "resnet18"}, "'resnet18' does not take img_size"),
        (
            {"backbone": "swin_tiny_patch4_window7_224", "image_size_px": 224},
            "does not yield one token a patch",
        ),
        ({"patch_px": None, "image_size_px": 40}, "40 px does not divide into patches of 16 px"),
        ({"width": 20, "heads": None}, "the width must divide by the number of heads"),
        ({"backbone": "vit_base_patch16_siglip_224"}, "has no class token; use the head 'mean' or 'patch'"),
    ],
)
def test_a_student_that_cannot_be_built_is_one_sentence(changes, told):
    plain = {"patch_px": None, "width": None, "depth": None, "heads": None}
    base = plain if changes.get("backbone", "").startswith(("resnet", "swin")) else {}
    with pytest.raises(InputError) as error:
        build_student(_settings(**{**base, **changes}), ["a"])
    assert told in str(error.value)
    assert len(error.value.problems) == 1


def test_published_weights_out_of_reach_are_one_sentence(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise FileNotFoundError("no network")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(InputError, match=r"student\.pretrained: .* cannot be had .* name a local file with 'weights'"):
        build_student(_settings(pretrained=True), ["a"])


def _saved(path, **changes):
    backbone = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=7,
        **{
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "in_chans": 1,
            **changes,
        },
    )
    save_file(backbone.state_dict(), path)
    return backbone


def test_local_weights_are_loaded_without_their_classifier(tmp_path):
    path = tmp_path / "vit.safetensors"
    backbone = _saved(path).eval()
    student = build_student(_settings(weights=path), ["a"]).eval()
    images = _images(student.settings)
    torch.testing.assert_close(student.tokens(images), backbone.forward_features(images))


def test_local_weights_bring_the_pretraining_s_normalisation(tmp_path):
    _saved(tmp_path / "vit.safetensors")
    student = build_student(_settings(weights=tmp_path / "vit.safetensors"), ["a"])
    assert (student.mean.item(), student.std.item()) == (0.5, 0.5)


def test_colour_weights_are_summed_for_grey_input(tmp_path):
    path = tmp_path / "vit.safetensors"
    colour = _saved(path, in_chans=3)
    student = build_student(_settings(weights=path), ["a"])
    expected = colour.patch_embed.proj.weight.sum(1, keepdim=True)
    torch.testing.assert_close(student.backbone.patch_embed.proj.weight, expected)


def test_position_embeddings_are_resampled_to_the_grid(tmp_path):
    path = tmp_path / "vit.safetensors"
    other = _saved(path, img_size=64)
    student = build_student(_settings(weights=path), ["a"])
    assert student.backbone.pos_embed.shape == (1, 17, 16)
    torch.testing.assert_close(student.backbone.pos_embed[:, 0], other.pos_embed[:, 0])


def test_weights_of_another_backbone_are_told_by_tensor(tmp_path):
    path = tmp_path / "vit.safetensors"
    _saved(path, depth=1)
    with pytest.raises(InputError, match=r"it lacks: blocks\.1\.norm1\.weight, .* and 9 more"):
        build_student(_settings(weights=path), ["a"])
    _saved(path, embed_dim=24)
    with pytest.raises(InputError, match=r"shapes differ: cls_token \(1, 1, 24\) instead of \(1, 1, 16\)"):
        build_student(_settings(weights=path), ["a"])


def test_a_pickled_checkpoint_is_never_opened(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(InputError, match=r"pickled files .* are never opened"):
        build_student(_settings(weights=path), ["a"])


def test_weights_that_are_not_there_are_told_apart_from_those_that_cannot_be_read(tmp_path):
    with pytest.raises(
        InputError, match=r"there is no file .*absent.safetensors .*; if another study or variant writes"
    ):
        build_student(_settings(weights=tmp_path / "absent.safetensors"), ["a"])
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    with pytest.raises(InputError, match=r"broken\.safetensors cannot be read as safetensors"):
        build_student(_settings(weights=tmp_path / "broken.safetensors"), ["a"])


def test_patch_head_exposes_its_logits_on_the_grid():
    student = build_student(_settings(head="patch", patch_temperature=0.5), ["a", "b"])
    assert isinstance(student.head, PatchHead)
    logits = student.head.patch_logits(student.tokens(_images(student.settings)))
    assert logits.shape == (3, int(np.prod(student.grid)), 2)


def test_a_student_that_goes_on_from_another_sees_images_as_that_one_did(tmp_path, small):
    from mmpkd.distil.checkpoint import save_student

    first = build_student(small, ["a"])
    first.mean.fill_(0.3)
    first.std.fill_(0.1)
    save_student(first, tmp_path)
    second = build_student(small.model_copy(update={"weights": tmp_path / "weights.safetensors"}), ["b", "c"])
    assert second.mean.unique().tolist() == pytest.approx([0.3])
    assert second.std.unique().tolist() == pytest.approx([0.1])
    for name, weight in first.backbone.state_dict().items():
        assert torch.equal(weight, second.backbone.state_dict()[name]), name
