"""What maps cost, in plain forward passes, beside the tools that people use and a loop over classes.

    python benchmarks/maps.py [--batch 8] [--classes 14] [--repeats 5] [--device cpu|cuda]

ViT-Tiny 224, random weights, evaluation mode. All ways run in turn within each repeat; the figures are medians over
repeats of (this way's time / plain forward's time of the same repeat): process CPU time of one thread on a CPU, wall
time on a GPU. Peers: timm's AttentionExtract (which finds nothing while fused attention is on, so it is off for it),
pytorch-grad-cam (if installed: ``pip install grad-cam``), and a loop that runs forward and backward once a class, as
published implementations do. Memory is the peak above what was resident before, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import timm
import torch
from timm.utils import AttentionExtract
from torch import Tensor

from mmpkd.attribute.attention import LastBlockAttention
from mmpkd.attribute.attribute import map_method
from mmpkd.attribute.capture import attention_matrices
from mmpkd.attribute.vit import Vit, vit_of

LAST_BLOCK = ("attention-gradient", "grad-cam")
FULL_DEPTH = ("gradient-rollout", "relevance", "attcat", "libra-attcat", "libra-fullgrad")
GOALS = {
    "logits and last-block attention": "<= 1.0 forwards",
    "attention-gradient": ">= 40x the loop",
    "legrad": ">= 30x the loop",
    "relevance": ">= 2.4x the loop",
    "gradient-rollout": ">= 2.4x the loop",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Cost of maps.")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways = build_ways(given.batch, given.classes, torch.device(given.device))
    if given.memory_of:
        print(json.dumps(peak_mib(ways[given.memory_of], torch.device(given.device))))
        return
    seconds = {name: [] for name in ways}
    for _ in range(given.repeats + 1):  # the first warms up
        for name, way in ways.items():
            seconds[name].append(timed(way, given.device))
    forward = "plain forward"
    loop = "loop: forward + backward a class"
    print(f"ViT-Tiny 224, batch {given.batch}, {given.classes} classes, {given.device}, one thread")
    print(f"{'':38}{'forwards':>10}{'x the loop':>12}{'peak MiB':>10}  goal")
    for name, taken in seconds.items():
        by_forward = statistics.median(a / b for a, b in zip(taken[1:], seconds[forward][1:], strict=True))
        by_loop = statistics.median(b / a for a, b in zip(taken[1:], seconds[loop][1:], strict=True))
        memory = memory_in_own_process(name, given)
        print(f"{name:38}{by_forward:10.2f}{by_loop:12.1f}{memory:10.0f}  {GOALS.get(name, '')}")


def build_ways(batch: int, classes: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Return every way to run, by name."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=classes).eval().to(device)
    images = torch.randn(batch, 3, 224, 224, device=device)
    vit, columns = vit_of(model), list(range(classes))
    unfused = timm.create_model("vit_tiny_patch16_224", num_classes=classes).eval().to(device)
    for block in unfused.blocks:
        block.attn.fused_attn = False
    extract = AttentionExtract(unfused)
    ways: dict[str, Callable[[], object]] = {
        "plain forward": partial(plain_forward, model, images),
        "logits and last-block attention": partial(LastBlockAttention().with_logits, vit, images),
        "timm AttentionExtract, all blocks": partial(extracted, extract, images),
        "loop: forward + backward a class": partial(class_loop, vit, images, columns),
    }
    for name in ("rollout", *LAST_BLOCK, "legrad", *FULL_DEPTH):
        ways[name] = partial(map_method(name, vit), vit, images, columns)
    ways.update(grad_cam_ways(model, images, columns))
    return ways


@torch.no_grad()
def plain_forward(model: Any, images: Tensor) -> Tensor:
    """Run the model as it is, fused attention and all."""
    return model(images)


@torch.no_grad()
def extracted(extract: AttentionExtract, images: Tensor) -> object:
    """Run timm's extraction of attention matrices."""
    return extract(images)


def class_loop(vit: Vit, images: Tensor, columns: list[int]) -> list[Tensor]:
    """Take the gradient of every attention matrix, one forward and one backward pass a class."""
    found = []
    for column in columns:
        vit.backbone.zero_grad()
        with attention_matrices(vit) as matrices:
            logits = vit.logits(images)
            for matrix in matrices:
                matrix.retain_grad()
            logits[:, column].sum().backward()
        found.append((matrices[-1].detach() * matrices[-1].grad).clamp(min=0).mean(1))
    return found


def grad_cam_ways(model: Any, images: Tensor, columns: list[int]) -> dict[str, Callable[[], object]]:
    """Return pytorch-grad-cam on the last block's first norm, for one class and for all."""
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return {}

    def to_grid(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (14, 14))

    cam = GradCAM(model=model, target_layers=[model.blocks[-1].norm1], reshape_transform=to_grid)

    def run(chosen: list[int]) -> list[Any]:
        return [cam(input_tensor=images, targets=[ClassifierOutputTarget(k)] * len(images)) for k in chosen]

    return {
        "pytorch-grad-cam, one class": partial(run, columns[:1]),
        "pytorch-grad-cam, all classes": partial(run, columns),
    }


def timed(way: Callable[[], object], device: str) -> float:
    """Return the seconds of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
        begin = time.perf_counter()
        way()
        torch.cuda.synchronize()
        return time.perf_counter() - begin
    begin = time.process_time()
    way()
    return time.process_time() - begin


def memory_in_own_process(name: str, given: argparse.Namespace) -> float:
    """Return the peak of one way, in MiB above what was there before."""
    command = [sys.executable, __file__, "--memory-of", name, "--device", given.device]
    command += ["--batch", str(given.batch), "--classes", str(given.classes)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def peak_mib(way: Callable[[], object], device: torch.device) -> float:
    """Run once and return the rise of the peak."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        way()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak starts anew
    before = psutil.Process().memory_info().rss
    way()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return peak_kib / 2**10 - before / 2**20


if __name__ == "__main__":
    main()
