from mmpkd.distil.optimizer import build_optimizer
from mmpkd.distil.student import build_student


def test_only_matrices_decay(small, brief):
    student = build_student(small, ["left"])
    decayed, kept = build_optimizer(student, brief).param_groups
    names = {id(parameter): name for name, parameter in student.named_parameters()}
    in_decayed = {names[id(parameter)] for parameter in decayed["params"]}
    in_kept = {names[id(parameter)] for parameter in kept["params"]}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    assert {"backbone.pos_embed", "backbone.cls_token", "backbone.norm.weight", "head.linear.bias"} <= in_kept
    assert {
        "head.linear.weight",
        "backbone.patch_embed.proj.weight",
        "backbone.blocks.0.mlp.fc1.weight",
    } <= in_decayed
    assert len(in_decayed) + len(in_kept) == len(names)
