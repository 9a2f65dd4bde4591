"""Multi-layer perceptron: the network of permuted and rotated MNIST."""

from math import prod

from torch import Tensor, nn

from lab.errors import one_of, require, whole
from lab.networks.dropout import Dropout

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class MLP(nn.Module):
    """``depth`` hidden layers of ``width`` units, then a linear head; the field's "2x400" is depth 2, width 400.

    Weights and biases start as torch's default, uniform within 1/sqrt(fan-in) (LeCun-style; torch's
    ``kaiming_uniform_`` with ``a=sqrt(5)``). Depth 0 is softmax regression.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int = 256,
        depth: int = 2,
        activation: str = "relu",
        dropout: float = 0.0,
        standardise: tuple[float, float] | None = None,
    ):
        """``standardise``: a mean and a standard deviation by which inputs become (x - mean) / deviation, whatever their task.

        Raises :class:`~lab.errors.UserError` for an option that is out of range.
        """
        super().__init__()
        if standardise is not None:
            sound = len(standardise) == 2 and all(isinstance(n, (int, float)) for n in standardise) and standardise[1] > 0
            require(sound, "network.standardise", standardise, "null, or [mean, standard deviation above 0]")
        self.standardise = standardise
        whole("network.width", width, 1)
        whole("network.depth", depth, 0)
        one_of("network.activation", activation, tuple(ACTIVATIONS))
        layers, units = [], prod(shape)
        for layer in range(depth):
            layers += [nn.Linear(units, width), ACTIVATIONS[activation](), *([Dropout(dropout, layer)] if dropout else [])]
            units = width
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(units, outputs)

    def features(self, inputs: Tensor) -> Tensor:
        """Inputs ``[B, *shape]`` to the last hidden layer's activations ``[B, width]``."""
        if self.standardise is not None:
            inputs = (inputs - self.standardise[0]) / self.standardise[1]
        return self.hidden(inputs.flatten(1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs ``[B, *shape]`` to logits ``[B, outputs]``."""
        return self.head(self.features(inputs))
