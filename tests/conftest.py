"""One thread a test: steps this small gain nothing from two, and the machine may be shared."""

import torch

torch.set_num_threads(1)
