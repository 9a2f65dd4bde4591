"""Structure completion: a small net of each member completes masked routing patterns (Basu 2026); in part our reconstruction.

While the weights that it watches are trained, a net with one hidden layer learns, for each layer of slots, to tell the routing
p of samples that are answered rightly from a pattern of which a random half is masked (the same entries for all samples of a
step). Its loss is the cross-entropy of the rows of p, and the pattern is

    agreement   A, which the network works out by what it has learnt
    extrinsic   P = Q_1' E Q_1, E_ij = [token i = token j], rows adding up to 1: which tokens slots have in common

When weights are reset the net stays, unless fields are to be cold again: there is no prior then. What it makes of the mean
pattern of a step is, in the next one, a prior that the routing is blended with, (1 - w) p + w prior; w falls in a line from
``weight`` to 0 over ``epochs`` passes over the phase's examples. While w is above 0 the net is not trained. A net that never
is, the control, completes at random.

The source does not describe the net. Ours has 64 ReLU units and is trained by Adam (Kingma & Ba 2015) at a rate of .001.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from lab.protocols import generator, invalid, number, one_of, whole
from strategies.pheromone_slots import Slots, put_out

UNITS, RATE, MASKED = 64, 1e-3, 0.5
BETA1, BETA2 = 0.9, 0.999
PATTERNS = ("agreement", "extrinsic")
PARTS = ("weight_in", "bias_in", "weight_out", "bias_out")


class Completion(nn.Module):
    """The nets of all members, one for each of L layers; see the module for the arguments.

    Raises:
        UserError: names the key.
    """

    def __init__(self, pattern: str, trained: bool, weight: float, epochs: int, kept: bool):
        super().__init__()
        key = "strategy.pheromone.completion_"
        self.pattern = one_of(f"{key}pattern", pattern, PATTERNS)
        if not isinstance(trained, bool):
            raise invalid(f"{key}trained", trained, "true or false")
        self.trained, self.weight = trained, number(f"{key}weight", weight, most=1.0)
        self.epochs, self.kept = whole(f"{key}epochs", epochs, 1), kept

    def setup(self, learner, ground: Slots) -> None:
        self.ground = ground
        members, dtype = learner.members, learner.population.precise
        self.slots, layers = ground.shapes[0][0], len(ground.layers)
        for name, inside, outside in (("in", self.slots**2, UNITS), ("out", UNITS, self.slots**2)):
            draws = [generator(seed, "pheromone", "completion", name) for seed in learner.seeds]
            drawn = [torch.randn(layers, inside, outside, generator=draw) / sqrt(inside) for draw in draws]
            self.register_buffer(f"weight_{name}", torch.stack(drawn).to(dtype))
            self.register_buffer(f"bias_{name}", torch.zeros(members, layers, 1, outside, dtype=dtype))
        for part in PARTS if self.trained else ():
            for moment in ("mean", "square"):
                self.register_buffer(f"{moment}_{part}", torch.zeros_like(self.get_buffer(part)))
        self.register_buffer("count", torch.zeros(members, dtype=torch.int64))
        self.register_buffer("begun", torch.zeros(members, dtype=torch.int64))
        self.register_buffer("lasting", torch.ones(members, dtype=torch.int64))
        self.register_buffer("keys", learner.keys("pheromone completion"))
        if self.pattern == "agreement":
            paths = [f"layers.{n}.agreement" for n in ground.layers]
            learner.population.watched += [path for path in paths if path not in learner.population.watched]

    def begin(self, learner, phase: int) -> None:
        """The weights have been reset: from here on there is a prior."""
        width = learner.course.budget.batch_size
        passes = [-(-len(stream.phases[phase].examples) // width) for stream in learner.course.streams]
        self.begun.copy_(learner.clock)
        self.lasting.copy_(self.epochs * torch.tensor(passes))

    def after_step(self, learner, batch, right: Tensor) -> None:
        """Train the nets on those samples of the step that are ``right``, bool ``[M, B]``; write the next step's prior."""
        shares, takes_part = batch.shares(self.weight_in.dtype), batch.taking_part()
        patterns, weight = self._patterns(learner, batch), self._weight(learner)
        if self.trained:
            self._train(learner, patterns, shares * right, takes_part & (weight == 0))
        if self._has_prior(learner):
            mean = torch.einsum("mb,mlbi->mli", shares, patterns).unsqueeze(2)
            priors = self._completed(mean, self._parts()).exp().squeeze(2).unbind(1)
            self.ground.write(learner, "prior", priors, takes_part)
            self.ground.write(learner, "prior_weight", [weight] * len(priors), takes_part)

    def _has_prior(self, learner) -> bool:
        """Whether weights were reset when this phase began, or one before it, and the nets were kept."""
        return self.kept and any(phase.fresh for phase in learner.course.phases[: learner.phase + 1])

    def _weight(self, learner) -> Tensor:
        """w in the next step, ``[M]``."""
        if not self._has_prior(learner):
            return torch.zeros_like(self.begun, dtype=self.weight_in.dtype)
        left = 1 - (learner.clock + 1 - self.begun).to(self.weight_in.dtype) / self.lasting
        return self.weight * left.clamp(min=0)

    def _patterns(self, learner, batch) -> Tensor:
        """Of all layers and samples, ``[M, L, B, m * m]``; a slot's row adds up to m (or is 0)."""
        each = [self._pattern(learner, batch, layer) for layer in self.ground.layers]
        each = [pattern / pattern.sum(3, keepdim=True).clamp(min=1e-12) for pattern in each]
        return self.slots * torch.stack(each, 1).flatten(3)

    def _pattern(self, learner, batch, layer: int) -> Tensor:
        if self.pattern == "agreement":
            return put_out(learner, layer, "agreement", self.weight_in.dtype)
        groups = put_out(learner, layer, "grouper_1", self.weight_in.dtype)
        same = batch.inputs.unsqueeze(3) == batch.inputs.unsqueeze(2)
        return groups.mT @ same.to(groups.dtype) @ groups

    def _parts(self) -> list[Tensor]:
        return [self.get_buffer(part) for part in PARTS]

    def _completed(self, patterns: Tensor, parts: list[Tensor]) -> Tensor:
        """Log-probabilities ``[M, L, B, m, m]`` of the transitions from each slot, for patterns ``[M, L, B, m * m]``."""
        weight_in, bias_in, weight_out, bias_out = parts
        logits = (patterns @ weight_in + bias_in).relu() @ weight_out + bias_out
        return logits.unflatten(3, (self.slots, self.slots)).log_softmax(4)

    def _train(self, learner, patterns: Tensor, weights: Tensor, who: Tensor) -> None:
        """A step of Adam, for those members ``who`` ``[M]`` have samples that weigh anything, ``weights`` ``[M, B]``."""
        routing = torch.stack([put_out(learner, n, "routing", weights.dtype) for n in self.ground.layers], 1)
        draws = learner.draw(self.keys, patterns[0, :, 0].numel()).view(*patterns.shape[:2], 1, -1)
        masked = patterns * (draws >= MASKED) / (1 - MASKED)
        total = weights.sum(1)
        with torch.enable_grad():
            parts = [part.clone().requires_grad_() for part in self._parts()]
            losses = -(routing * self._completed(masked, parts)).sum(4).mean((1, 3))
            loss = (losses * weights / total.clamp(min=1e-12).unsqueeze(1)).sum()
            gradients = torch.autograd.grad(loss, parts)
        who = who & (total > 0)
        self.count += who
        for name, gradient in zip(PARTS, gradients, strict=True):
            self._descend(name, gradient, who.view(-1, 1, 1, 1), self.count.to(gradient.dtype).view(-1, 1, 1, 1))

    def _descend(self, name: str, gradient: Tensor, who: Tensor, count: Tensor) -> None:
        part, mean, square = (self.get_buffer(each) for each in (name, f"mean_{name}", f"square_{name}"))
        mean.copy_(torch.where(who, BETA1 * mean + (1 - BETA1) * gradient, mean))
        square.copy_(torch.where(who, BETA2 * square + (1 - BETA2) * gradient.square(), square))
        step = (mean / (1 - BETA1**count)) / ((square / (1 - BETA2**count)).sqrt() + 1e-8)
        part.copy_(torch.where(who, part - RATE * step, part))
