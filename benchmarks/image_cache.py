"""How fast images are decoded and read back, and that memory does not grow with the cohort.

    python benchmarks/image_cache.py [--images 500] [--side 512] [--canvas 128] [--chest 12]

It writes JPEGs of its own into a temporary folder and prints:

- decoding of chest-size JPEGs (2544 x 3056) to 224 px: images a second and core, beside the plain way (decode all with
  Pillow, then reduce with the same filter)
- filling the cache, and the second run that finds everything there
- an epoch of shuffled batches from the cache, beside the same batches from an array in memory
- peak resident memory of a process that fills the cache and reads an epoch of batches, with as many images as given and
  with ten times as many; of the process itself and of its largest worker

Speeds are of process CPU time on one core, except for filling, which is wall time of all workers.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mmpkd.cohort.cache import CachedImages, cache_images
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.images import decode_fitted

CHEST_PX = (2544, 3056)
BATCH = 256


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description="Image decoding, cache and memory.")
    parser.add_argument("--images", type=int, default=500, help="of the smaller cohort")
    parser.add_argument("--side", type=int, default=512, help="of those images, in pixels")
    parser.add_argument("--canvas", type=int, default=128, help="pixels they are cached at")
    parser.add_argument("--chest", type=int, default=12, help="chest-size images to decode")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure_memory(given.folder, given.measure, given.canvas)))
        return

    benchmark_decoding(given.chest)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = write_jpegs(folder, 10 * given.images, given.side)
        benchmark_cache(folder, names, given.side, given.canvas)
        benchmark_memory(folder, given.images, given.canvas)


def benchmark_decoding(images: int) -> None:
    """Decode chest-size JPEGs, grey and colour, ours beside the plain way."""
    print("decoding a JPEG of 3056 x 2544 px to 224 px, grey, images a second and core")
    for mode in ("L", "RGB"):
        data = jpeg(CHEST_PX, seed=0, mode=mode)
        ours = per_second(lambda data=data: decode_fitted(data, 224, 1, "stretch"), images)
        plain = per_second(lambda data=data: decode_plainly(data), images)
        print(f"  {mode:4s} mmpkd {ours:7.1f}   plain {plain:7.1f}   ratio {ours / plain:5.2f}")


def benchmark_cache(folder: Path, names: list[str], side: int, canvas: int) -> None:
    """Fill the cache, find it filled, and read an epoch from it."""
    start = time.perf_counter()
    cached = fill(folder, len(names), canvas)
    filling = time.perf_counter() - start
    start = time.perf_counter()
    fill(folder, len(names), canvas)
    finding = time.perf_counter() - start
    print(f"cache of {len(names)} JPEGs of {side} px at {canvas} px, {cached.pixels.nbytes / 2**20:.0f} MiB")
    print(f"  filling, all workers      {len(names) / filling:9.0f} images/s")
    print(f"  second run                {len(names) / finding:9.0f} images/s")
    images = cached.image_set()
    in_memory = ImageSet(np.array(images.pixels), images.rows, images.sizes_px, images.fit)
    read_epoch(images)
    from_disk = len(names) / cpu_time(lambda: read_epoch(images))
    from_memory = len(names) / cpu_time(lambda: read_epoch(in_memory))
    print(f"  shuffled batches          {from_disk:9.0f} images/s")
    print(f"  the same from memory      {from_memory:9.0f} images/s")


def benchmark_memory(folder: Path, images: int, canvas: int) -> None:
    """Measure peak memory at one and at ten times the cohort, each in a process of its own."""
    peaks = []
    print("peak resident memory, filling and reading an epoch")
    for count in (images, 10 * images):
        command = [sys.executable, __file__, "--measure", str(count), "--folder", str(folder), "--canvas", str(canvas)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks.append(json.loads(answer))
        print(f"  {count:7d} images   {peaks[-1]['own']:7.1f} MiB, largest worker {peaks[-1]['worker']:7.1f} MiB")
    print(f"  ten times as many take {peaks[1]['own'] / peaks[0]['own']:.3f} of the memory")


def measure_memory(folder: Path, count: int, canvas: int) -> dict[str, float]:
    """Fill a fresh cache and read an epoch; return the peaks of this process and of its largest worker, in MiB."""
    import resource

    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        images = fill(folder, count, canvas, Path(fresh)).image_set()
        read_epoch(images)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "own": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit,
    }


def fill(folder: Path, count: int, canvas: int, cache: Path | None = None) -> CachedImages:
    """Bring the first images of the folder into a cache."""
    names = [f"{index}.jpg" for index in range(count)]
    return cache_images(names, folder, canvas, 1, "stretch", cache or folder / "cache")


def read_epoch(images: ImageSet) -> None:
    """Read every image once, shuffled, into one buffer."""
    order = np.random.default_rng(0).permutation(len(images))
    out = np.empty((BATCH, *images.pixels.shape[1:]), np.uint8)
    for start in range(0, len(order) - BATCH + 1, BATCH):
        images.batch(order[start : start + BATCH], out)


def decode_plainly(data: bytes) -> np.ndarray:
    """Decode as most loaders do: all pixels first."""
    image = Image.open(io.BytesIO(data)).convert("L")
    return np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))


def jpeg(shape: tuple[int, int], seed: int, mode: str = "L") -> bytes:
    """Return a JPEG of a smooth picture with some grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (shape[0] // 32 + 2, shape[1] // 32 + 2), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = rng.integers(-8, 9, shape, dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).convert(mode).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_jpegs(folder: Path, count: int, side: int) -> list[str]:
    """Write ``count`` files of different content; their pictures repeat, which changes no decoding time."""
    pictures = [jpeg((side, side), seed) for seed in range(min(count, 50))]
    names = [f"{index}.jpg" for index in range(count)]
    for index, name in enumerate(names):
        data = pictures[index % len(pictures)]
        comment = b"\xff\xfe\x00\x06" + index.to_bytes(4, "big")  # a JPEG comment, so that no two files are alike
        (folder / name).write_bytes(data[:2] + comment + data[2:])
    return names


def per_second(work: Callable[[], object], times: int) -> float:
    """Return how often a second of CPU time does the work."""
    work()
    return times / cpu_time(lambda: [work() for _ in range(times)])


def cpu_time(work: Callable[[], object]) -> float:
    """Return the CPU time of the work, in seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
