"""Gradient projection memory: Saha, Garg & Roy 2021, "Gradient Projection Memory for Continual Learning", ICLR,
arXiv 2103.09762.

The gradient of a layer's weights W lies in the span of the layer's inputs. So a step orthogonal to the inputs that old tasks
put into it leaves what it answers to them as it is. With R the matrix of a layer's inputs (its representation) at samples of
the task that has ended, one a column, and M the orthonormal basis kept of earlier tasks' inputs:

    R^ = R - M M' R                              what of the representation is new (their equation 8)
    |M M' R|^2 + |R^_k|^2 >= eps |R|^2           k is the least for which this holds (equation 9); R^_k has rank k
    M <- [M, u_1 ... u_k]                        the first k left singular vectors of R^
    g~ = g - (g M) M'                            the gradient [out, in] from then on (equation 6)

The left singular vectors of R^ are eigenvectors of R^ R^', and the squares of its singular values are their eigenvalues, so
that R R' is all that is gathered, over any number of samples. What is kept is M M' itself, which is of one size for all
members however many vectors they have. A vector with less than a millionth of the energy is noise and never taken.

Convolutions have a column of R for every place that their kernel is put to. A bias is the weight of an input that is always 1,
and protected so (the paper's networks have none). As in the paper a head of its own for each task is left free: in the
task-incremental scenario those rows of the layer that is run last which no past task answered with. The optimiser takes g~ in
place of g; momentum from before a task's end is not projected again (``reset_optimizer=true`` forgets it), and Adam's scaling
turns the step out of the space that is left.
"""

import torch
from torch import nn

from lab.protocols import Strategy, UserError, number, strength, whole


class GPM(Strategy):
    """Take from the gradient of each layer what would change its answers to the inputs that past tasks gave it.

    For networks whose parameters are those of linear layers and plain convolutions.

    Args:
        threshold: eps, the share of a representation's energy that is to be spanned by the basis; one number, or one a member.
        growth: what is added to eps for each past task (up to 1).
        samples: of a task, that its representations are measured on.
    """

    needs_boundaries = True

    def __init__(self, threshold: float | list = 0.97, growth: float = 0.003, samples: int = 300):
        super().__init__()
        self.threshold = strength("strategy.gpm.threshold", threshold, most=1)
        self.growth = number("strategy.gpm.growth", growth, most=1.0)
        self.samples = whole("strategy.gpm.samples", samples, 1)

    def setup(self, learner):
        self.layers = {path: Layer(learner.population, path, layer) for path, layer in layers_of(learner.population).items()}
        *_, self.last = learner.population.put_out(self.layers, learner.reader.shape, learner.reader.tokens)
        self.register_buffer("eps", learner.value("strategy.gpm.threshold", self.threshold))
        for layer in self.layers.values():
            self.register_buffer(
                layer.basis, torch.zeros(learner.members, layer.inputs, layer.inputs, dtype=learner.population.precise)
            )

    def gradient(self, learner, batch):
        if learner.phase == 0:
            return
        for path, layer in self.layers.items():
            weight, bias = layer.leaves(learner.population)
            if weight.grad is None:
                continue
            g = weight.grad.flatten(2) if bias is None else torch.cat([weight.grad.flatten(2), bias.grad.unsqueeze(2)], 2)
            along = g @ self.get_buffer(layer.basis)
            along = along * self._met(learner) if path == self.last else along
            weight.grad -= along[..., : weight[0, 0].numel()].reshape(weight.shape)
            if bias is not None:
                bias.grad -= along[..., -1]

    def _met(self, learner):
        """Which rows of the last layer are protected, ``[M, out, 1]``: all, or those of units that past tasks answered with."""
        met = learner.evaluation.seen[learner.phase].unsqueeze(2)
        return met if learner.evaluation.scenario == "task" else torch.ones_like(met)

    @torch.no_grad()
    def end_task(self, learner, task):
        sums = {
            path: torch.zeros_like(self.get_buffer(layer.basis), dtype=torch.float64) for path, layer in self.layers.items()
        }
        probes = {path: torch.zeros(learner.members, 1, device=self.eps.device) for path in self.layers}
        for batch in learner.samples(task, at_most=self.samples):
            learner.count(batch.width)
            with learner.population.evaluating():
                _, into = learner.population.traced(batch.inputs, probes, learner.gates(batch.tasks))
            for path, layer in self.layers.items():
                columns = layer.columns(into[path]) * batch.weights.view(*batch.weights.shape, 1, 1)
                sums[path] += columns.flatten(1, 2).mT @ columns.flatten(1, 2)
        eps = (self.eps + self.growth * task).clamp(max=1).double()
        for path, layer in self.layers.items():
            basis = self.get_buffer(layer.basis)
            basis += added(sums[path], basis.double(), eps)

    def diagnostics(self):
        """The share of its input space that each layer may no longer use."""
        bases = {path: self.get_buffer(layer.basis).diagonal(dim1=1, dim2=2) for path, layer in self.layers.items()}
        return {f"protected_{path}": diagonal.mean(1) for path, diagonal in bases.items()}


class Layer:
    """A linear layer or convolution: where its parameters are, and what its inputs are."""

    def __init__(self, population, path, layer):
        self.names = [population.leaf_of(path, name) for name in ("weight", "bias") if getattr(layer, name) is not None]
        self.convolution = isinstance(layer, nn.Conv2d)
        if self.convolution:
            self.options = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        self.inputs = layer.weight[0].numel() + len(self.names) - 1
        self.basis = f"basis_{path.replace('.', '_')}"

    def leaves(self, population):
        """Weight and bias, or None for a layer without."""
        weight, *bias = (population.leaves[name] for name in self.names)
        return weight, bias[0] if bias else None

    def columns(self, into):
        """What goes into the layer, ``[M, B, ...]``, as inputs ``[M, B, places, d]``, with a 1 behind them for a bias."""
        if self.convolution:
            patches = nn.functional.unfold(into.flatten(0, 1), *self.options).mT
            into = patches.unflatten(0, into.shape[:2])
        columns = into.flatten(2, -2) if into.dim() > 3 else into.unsqueeze(2)
        return torch.cat([columns, torch.ones_like(columns[..., :1])], 3) if len(self.names) > 1 else columns


def layers_of(population):
    """The layers by path, all of which can be protected."""
    layers = population.layers(nn.Linear, nn.Conv2d)
    plain = lambda layer: layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)  # noqa: E731
    if layers is None or not all(plain(layer) for layer in layers.values() if isinstance(layer, nn.Conv2d)):
        raise UserError(
            "strategy.gpm: protects the parameters of linear layers and of convolutions with one group, padded by a number of "
            "zeros, and this network has others (normalisation, embeddings, ...)"
        )
    return layers


def added(gram, basis, eps):
    """What is to be added to M M' ``[M, d, d]`` for representations with R R' ``gram``, in float64; ``eps`` ``[M]``."""
    gram = torch.where(gram.isfinite().flatten(1).all(1).view(-1, 1, 1), gram, 0)  # of diverged members
    total, known = (part.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) for part in (gram, basis @ gram))
    rest = torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype) - basis
    energies, vectors = torch.linalg.eigh(rest @ gram @ rest)  # ascending
    energies, vectors = energies.flip(1), vectors.flip(2)
    before = known + energies.cumsum(1) - energies
    new = vectors * ((before < eps.unsqueeze(1) * total) & (energies > 1e-6 * total)).unsqueeze(1)
    return new @ new.mT
