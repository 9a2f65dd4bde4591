"""Rotated images: every task shows the same images at another angle (Lopez-Paz & Ranzato 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from environments.augment import augmentation
from environments.tasks import SHARED, images_of, numbers, repeated_labels, switch
from environments.views import tasks_of_views
from lab.protocols import Data, Stream, fraction, generator, invalid, one_of, phase_per_task, whole


def rotate(inputs: Tensor, table: Tensor, tasks: Tensor) -> Tensor:
    """Images ``[M, B, C, H, W]`` turned counter-clockwise by the angles ``table`` ``[M, T]`` (degrees) of the tasks
    ``[M, B|1]``, bilinearly, about the centre; outside is 0."""
    members = torch.arange(len(table), device=table.device).unsqueeze(1)
    angle = torch.deg2rad(table[members, tasks]).expand(inputs.shape[:2]).flatten()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    height, width = inputs.shape[-2:]
    rows = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], 1).view(-1, 2, 3)
    images = inputs.flatten(0, 1)
    grid = F.affine_grid(rows, images.shape, align_corners=False)
    turned = F.grid_sample(images.float(), grid, align_corners=False)
    turned = turned.round_() if inputs.dtype == torch.uint8 else turned
    return turned.to(inputs.dtype).view(inputs.shape)


class Rotated:
    """``tasks`` rotations of one image set.

    Args:
        angles: uniform in [0, 180) from the member's seed (``uniform``), evenly spaced from 0 (``even``), or a list in
            degrees, counter-clockwise.
        shared: the same angles for all members.
        augment: ``crop``, ``flip`` or ``crop_flip`` on training images, or None; ``padding`` in pixels.
    """

    def __init__(
        self,
        source: Data,
        tasks: int = 5,
        scenario: str = "domain",
        angles: str | list[float] = "uniform",
        validation: float = 0.0,
        shared: bool = False,
        augment: str | None = None,
        padding: int = 4,
    ):
        self.data, self.tasks = images_of(source), whole("environment.tasks", tasks, 1)
        self.scenario = one_of("environment.scenario", scenario, ("domain", "task", "class"))
        self.validation, self.shared = fraction("environment.validation", validation), switch("environment.shared", shared)
        given = numbers(angles)
        if angles not in ("uniform", "even") and (given is None or len(given) != tasks or not all(map(math.isfinite, given))):
            raise invalid("environment.angles", angles, f"uniform, even, or a list of {tasks} angles in degrees")
        self.angles = angles
        self.augment = augmentation(augment, padding, source)

    def stream(self, seed: int) -> Stream:
        labels, outputs = repeated_labels(self.data.classes, self.tasks, self.scenario)
        angles = self._angles(SHARED if self.shared else seed)
        tasks = tasks_of_views(self.data, angles, labels, self.validation, seed)
        return Stream(tasks, phase_per_task(tasks), self.scenario, outputs, rotate, self.augment)

    def _angles(self, seed: int) -> Tensor:
        if self.angles == "even":
            return torch.arange(self.tasks) * (180.0 / self.tasks)
        if self.angles == "uniform":
            return torch.rand(self.tasks, generator=generator(seed, "angles")) * 180
        return torch.tensor([float(angle) for angle in self.angles])
