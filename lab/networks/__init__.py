"""Reference networks: each class takes one input's ``shape`` and the number of ``outputs``, then its own options."""

from lab.networks.cnn import CNN
from lab.networks.dropout import Dropout
from lab.networks.encoder import Encoder
from lab.networks.encoder_decoder import EncoderDecoder
from lab.networks.mlp import MLP
from lab.networks.pair_bag import PairBag
from lab.networks.pathways import Pathways
from lab.networks.resnet import SlimResNet18
from lab.networks.sequences import RandomSparse, SequenceTransformer
from lab.networks.tagger import Tagger
from lab.networks.transformer import Transformer

__all__ = [
    "CNN", "MLP", "Dropout", "Encoder", "EncoderDecoder", "PairBag", "Pathways", "RandomSparse", "SequenceTransformer",
    "SlimResNet18", "Tagger", "Transformer",
]  # fmt: skip
