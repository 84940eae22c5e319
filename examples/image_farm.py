"""Thumbnails of generated images on every core; one image kills its worker, and the farm goes on.

Run it with:  .venv/bin/python examples/image_farm.py [IMAGES]      (100 by default; needs numpy)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import koboshi as kb

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    raise SystemExit("image_farm: numpy is missing; install it with `pip install numpy`") from None

SIDE = 256
THUMBNAIL = 32
#: Stands for the file with which the decoder takes all memory, so that the kernel kills it.
POISON = 13

Image = NDArray[np.uint8]


def paint(number: int) -> Image:
    """An image of its own for each number: rings around a point, and noise."""
    random = np.random.default_rng(number)
    center = random.uniform(0, SIDE, size=2)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    distance = np.hypot(rows - center[0], columns - center[1])
    rings = 127 + 100 * np.sin(distance / random.uniform(4, 30))
    noisy = rings[..., None] * random.uniform(0.4, 1, size=3) + random.normal(0, 8, size=(SIDE, SIDE, 3))
    image: Image = noisy.clip(0, 255).astype(np.uint8)
    return image


def thumbnail(number: int) -> Image:
    """Make one thumbnail: each of its pixels is the mean of a square."""
    if number == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    square = SIDE // THUMBNAIL
    squares = paint(number).reshape(THUMBNAIL, square, THUMBNAIL, square, 3)
    small: Image = squares.mean(axis=(1, 3)).astype(np.uint8)
    return small


async def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    # One worker per core; each has numpy imported before its first image.
    async with kb.Supervisor(kb.pool(thumbnail, timeout=10).options(id="farm")) as tree:
        jobs = kb.jobs(tree.ref(kb.Pool, "farm"))
        light: dict[int, float] = {}

        async def make(number: int) -> None:
            try:
                small = await jobs.call(thumbnail, number)
            except kb.WorkerCrashed as crash:
                print(f"image {number}: its worker {crash.exit.describe()}; the others go on")
            else:
                light[number] = float(small.mean())

        async with asyncio.TaskGroup() as group:
            for number in range(images):
                group.create_task(make(number))
        best = max(light, key=light.__getitem__)
        print(f"{len(light)} thumbnails of {images} images; image {best} is the brightest")


if __name__ == "__main__":
    kb.run(main, log_level=None)
