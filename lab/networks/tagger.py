"""A label for every token: embedding and a window of neighbours."""

from torch import Tensor, nn

from lab.errors import invalid, whole


class Tagger(nn.Module):
    """Tokens int64 ``[B, L]`` -> logits ``[B, L, outputs]``: embeddings and one convolution over ``window`` tokens.

    No recurrence: LSTM and GRU cannot be stacked.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, vocabulary: int = 1000, width: int = 64, window: int = 5):
        super().__init__()
        if len(shape) != 1:
            raise invalid("network", "tagger", f"token sequences [length], and the inputs have shape {list(shape)}")
        if window % 2 == 0:
            raise invalid("network.window", window, "an odd number")
        self.embedding = nn.Embedding(whole("network.vocabulary", vocabulary, 1), whole("network.width", width, 1))
        self.mix = nn.Conv1d(width, width, window, padding=window // 2)
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.mix(self.embedding(tokens).transpose(1, 2)).transpose(1, 2)
        return self.head(mixed.relu())
