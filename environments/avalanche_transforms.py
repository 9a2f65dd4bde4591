"""What is done to an Avalanche dataset's samples: which transforms are applied once, while reading, and what becomes of others.

Deterministic transforms are applied while reading. One that only moves pixels (a permutation, a rotation to the nearest
pixel) is left to the stream's view instead, so that tasks that differ in it share their samples. Random crops and flips are
left to the lab's augmentation; other random transforms are refused. Nothing is taken on trust: what is left out of reading is
compared with what the transforms themselves give, on some of the samples.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from environments.augment import augment
from lab.protocols import UserError

Step = Callable[[Any], Any]
"""A transform of one sample or of one label."""

TOLERANCE = 1e-6
DRAWS = 16
"""How often a random transform is compared with the lab's augmentation, for each of some samples."""
RANGES = {"RandomRotation": "degrees", "GaussianBlur": "sigma"}
"""Transforms that are random in one thing alone, and its range."""


@dataclass(frozen=True)
class Augment:
    """Random windows and flips of training images, as in :mod:`environments.augment`, with a colour around the image."""

    padding: int = 0
    flip: bool = False
    fill: tuple[float, ...] = (0.0,)
    """By channel, as the images are read."""

    def function(self, scale: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
        """For :class:`lab.protocols.Stream`; ``scale`` is that of the data as they are kept."""
        plain = partial(augment, padding=self.padding, flip=self.flip)
        fill = tuple(round(value * scale) if scale != 1 else value for value in self.fill)
        return partial(_around, plain=plain, fill=fill) if any(fill) else plain


@dataclass(frozen=True)
class Treatment:
    """What becomes of a chain of transforms."""

    steps: tuple[Step, ...]
    """Those that are applied once."""
    baked: tuple[Step, ...]
    """The same where moved pixels are not left to a view."""
    order: Tensor | None = None
    """int64 ``[D]``: where each pixel comes from, -1 for nowhere: it is ``fill``; None where no pixel moves."""
    fill: float = 0.0
    augment: Augment | None = None
    training: bool = True

    @property
    def gaps(self) -> bool:
        """Whether some pixels come from nowhere."""
        return self.order is not None and bool((self.order < 0).any())


def flattened(transform: Any, position: int, key: str) -> list[Step]:
    """The transforms of one value each that an Avalanche transform is made of; position 0 is the input, 1 the label."""
    from avalanche.benchmarks.utils.transforms import MultiParamCompose, MultiParamTransform, TupleTransform

    if transform is None:
        return []
    if isinstance(transform, TupleTransform):
        parts = transform.transforms[position : position + 1]
    elif isinstance(transform, MultiParamCompose):
        if any(not isinstance(part, TupleTransform) for part in transform.transforms):
            raise UserError(f"{key}: {named(transform)} changes several values at once; expected transforms of one")
        parts = transform.transforms
    elif isinstance(transform, MultiParamTransform):
        raise UserError(f"{key}: {named(transform)} changes several values at once; expected transforms of one")
    elif type(transform).__name__ in ("Compose", "Sequential"):
        parts = getattr(transform, "transforms", transform)
    elif isinstance(transform, Sequence):
        parts = transform
    else:
        return [transform]
    return [step for part in parts for step in flattened(part, position, key)]


def treatment(steps: Sequence[Step], samples: list, key: str, training: bool) -> Treatment:
    """What becomes of these transforms, found out on some samples as they are before the first of them.

    Raises:
        UserError: for random transforms that the lab does not do.
    """
    found, kept, orders, around, images = None, [], [], None, samples
    for step in steps:
        if any(draws(step, image) for image in images):
            found = _taken(found or Augment(), step, images[0], key, training)
            around = _padding_of(step, images[0]) if type(step).__name__ == "RandomCrop" else around
            continue
        orders.append(_movement(step, images[0]))
        kept.append(step)
        images = [step(fresh(image)) for image in images]
        around = None if around is None else step(around)
    baked = tuple(kept)
    if found is not None:
        require_tensor(images[0], key)
        found = replace(found, fill=_colour(around, key)) if found.padding else found
        _compare(found, steps, samples, images, key)
        return Treatment(baked, baked, augment=found, training=training)
    order, still = _composed(orders), tuple(step for step, order in zip(kept, orders, strict=True) if order is None)
    fill = None if order is None else _fill(order, still, samples, images)
    if fill is None:
        return Treatment(baked, baked, training=training)
    moved = not torch.equal(order, torch.arange(len(order)))
    return Treatment(still, baked, order if moved else None, fill, None, training)


def require_tensor(image: Any, key: str) -> None:
    """Refuse what is no tensor after all transforms."""
    if not isinstance(image, Tensor):
        given = f"samples are {type(image).__name__} after their transforms"
        raise UserError(f"{key}: {given}; expected tensors, e.g. by ToTensor as the last of the transforms")


def through(steps: Sequence[Step], sample: Any) -> Any:
    """A sample after some transforms."""
    for step in steps:
        sample = step(sample)
    return sample


def draws(step: Step, sample: Any) -> bool:
    """Whether a transform is random: it draws numbers from a global generator, or two results differ.

    Those of :data:`RANGES` draw from a range of one number too (RotatedMNIST does so), and do the same each time.
    """
    before = _generators()
    one, other = step(fresh(sample)), step(fresh(sample))
    bounds = getattr(step, RANGES.get(type(step).__name__, ""), (0, 1))
    return not same(one, other) or (_generators() != before and bounds[0] != bounds[1])


def named(step: Step) -> str:
    """What an error calls a transform."""
    return getattr(step, "__qualname__", None) or type(step).__name__


def fresh(sample: Any) -> Any:
    """A copy, since transforms may work in place."""
    return sample.clone() if isinstance(sample, Tensor) else copy.deepcopy(sample)


def same(one: Any, other: Any) -> bool:
    """Whether two images, or whatever samples are on their way, are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
    return np.array_equal(np.asarray(one), np.asarray(other))


def rearranged(inputs: Tensor, table: Tensor, tasks: Tensor, fill: float) -> Tensor:
    """Inputs ``[M, B, ...]`` whose positions are those that ``table`` ``[M, T, D]`` has for the tasks ``[M, B|1]``, ``fill``
    where it has -1."""
    flat = inputs.flatten(2)
    members = torch.arange(len(table), device=table.device).unsqueeze(1)
    order = table[members, tasks].expand(-1, flat.shape[1], -1)
    return flat.gather(2, order.clamp(min=0)).masked_fill_(order < 0, fill).view(inputs.shape)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it the global generators start from ``seed``; afterwards they are as they were."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def _generators() -> tuple:
    numbers = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), numbers[1].tobytes(), numbers[2:], random.getstate()


# --- random transforms ------------------------------------------------------------------------------------------------


def _taken(found: Augment, step: Step, image: Any, key: str, training: bool) -> Augment:
    """The augmentation with another random transform in it."""
    if not training:
        raise UserError(f"{key}: {named(step)} is random, and test samples are read once; expected deterministic transforms")
    kind = type(step).__name__
    if kind == "RandomHorizontalFlip" and step.p == 0.5 and not found.flip:
        return Augment(found.padding, True)
    if kind == "RandomCrop" and tuple(step.size) == _size(image) and not found.padding:
        around = {step.padding or 0} if not isinstance(step.padding, Sequence) else set(step.padding)
        if len(around) == 1:
            return Augment(around.pop(), found.flip)
    raise UserError(
        f"{key}: {named(step)} is random, and samples are read once; of random transforms the lab does one RandomCrop to the "
        f"image's own size, padded alike on all sides, and one RandomHorizontalFlip(0.5): leave {named(step)} out"
    )


def _size(image: Any) -> tuple[int, ...]:
    return tuple(image.shape[-2:]) if isinstance(image, Tensor) else tuple(reversed(getattr(image, "size", ())))


def _padding_of(crop: Step, image: Any) -> Any:
    """An image like this one, wholly of what a crop pads with."""
    from torchvision.transforms import functional

    height, width = _size(image)
    fill = crop.fill if isinstance(crop.fill, (int, float, tuple, list)) else 0
    return functional.crop(functional.pad(image, [width, height], fill=fill), 0, 0, height, width)


def _colour(around: Any, key: str) -> tuple[float, ...]:
    """The colour of an image of one colour, by channel."""
    channels = around.float().flatten(1)
    if not (channels == channels[:, :1]).all():
        raise UserError(f"{key}: transforms after RandomCrop do not leave its padding of one colour; expected RandomCrop last")
    return tuple(channels[:, 0].tolist())


def _compare(found: Augment, steps: Sequence[Step], samples: list, images: list, key: str) -> None:
    """Refuse transforms whose results are not among those of the lab's augmentation."""
    for sample, image in zip(samples, images, strict=True):
        windows = _windows(found, image)
        for _ in range(DRAWS):
            drawn = through(steps, fresh(sample))
            if drawn.shape != image.shape or not ((windows - drawn).flatten(1).abs().amax(1) <= TOLERANCE).any():
                names = ", ".join(map(named, steps))
                raise UserError(
                    f"{key}: the transforms {names} do not come to random windows and flips of images that are read once; "
                    "expected RandomCrop padded with one colour, and after it only what treats every pixel alike"
                )


def _windows(found: Augment, image: Tensor) -> Tensor:
    """All results of the augmentation of an image."""
    places, flips = 2 * found.padding + 1, 1 + found.flip
    noise = torch.cartesian_prod(*((torch.arange(n) + 0.5) / n for n in (places, places, flips)))
    noise = torch.nn.functional.pad(noise, (0, 1)).unsqueeze(0)
    return found.function()(image.expand(1, noise.shape[1], *image.shape), noise)[0]


def _around(inputs: Tensor, noise: Tensor, plain: Callable[[Tensor, Tensor], Tensor], fill: tuple[float, ...]) -> Tensor:
    """Augmented images with a colour around them; the lab's own augmentation has zeros there."""
    colour = torch.stack([inputs.new_full((), value) for value in fill]).view(-1, 1, 1)
    return plain(inputs - colour, noise) + colour


# --- moved pixels -----------------------------------------------------------------------------------------------------


def _movement(step: Step, image: Any) -> Tensor | None:
    """Where each pixel comes from (int64 ``[D]``, -1: from nowhere) where moving them is all that a transform does, if that.

    It is shown images whose pixels say where they are, in digits to the base 256.
    """
    shape = tuple(image.shape) if isinstance(image, Tensor) else None
    size = shape if shape is not None else (len(getattr(image, "getbands", tuple)()), *_size(image))
    count = int(np.prod(size))
    numbers = torch.arange(1, count + 1).view(size)
    origin = torch.zeros(size, dtype=torch.int64)
    try:
        for digit in range(3):
            shown = _pixels(step(_picture(numbers // 256**digit % 256, image)), image)
            if shown is None or tuple(shown.shape) != tuple(size) or not ((shown == shown.round()) & (shown >= 0)).all():
                return None
            origin += shown.long() * 256**digit
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError):
        return None
    order = origin.flatten() - 1
    return order if (order < count).all() else None


def _picture(values: Tensor, like: Any) -> Any:
    """Values ``[C, H, W]`` in [0, 255] as an image of the kind of ``like``."""
    if isinstance(like, Tensor):
        return values.to(like.dtype)
    from PIL import Image

    return Image.fromarray(values.to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy())


def _pixels(image: Any, like: Any) -> Tensor | None:
    """The values of an image, None if it is of another kind than ``like``."""
    if isinstance(image, Tensor) or isinstance(like, Tensor):
        return image.double() if getattr(image, "dtype", None) == getattr(like, "dtype", None) else None
    values = torch.from_numpy(np.array(image)).double()
    return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1)


def _composed(orders: list[Tensor | None]) -> Tensor | None:
    """Movements one after the other as one; None for none, or where the images change their size in between."""
    total = None
    for order in orders:
        if order is not None:
            if total is not None and len(total) != len(order):
                return None
            total = order if total is None else torch.where(order < 0, -1, total[order.clamp(min=0)])
    return total


def _fill(order: Tensor, still: Sequence[Step], samples: list, images: list) -> float | None:
    """What stands where no pixel came from; None where a view of samples that are read without moving their pixels would
    not be what the transforms give."""
    read = [through(still, fresh(sample)) for sample in samples]
    if not all(isinstance(image, Tensor) and image.numel() == len(order) for image in (*read, *images)):
        return None
    moved, read = (torch.stack([image.flatten() for image in group]) for group in (images, read))
    empty = moved[:, order < 0]
    fill = float(empty.flatten()[0]) if empty.numel() else 0.0
    view = torch.where(order < 0, torch.full_like(read, fill), read[:, order.clamp(min=0)])
    return fill if torch.allclose(view.double(), moved.double(), rtol=0, atol=TOLERANCE) else None
