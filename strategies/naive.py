"""Plain gradient descent on the stream: the lower bound that remedies are measured against."""

from lab.protocols import Strategy


class Naive(Strategy):
    """Train on each task as it comes and do nothing else (also called fine-tuning)."""
