"""One thread a test: steps this small gain nothing from two, and the machine may be shared. And the browser, for who asks."""

import torch

pytest_plugins = ["chromium"]

torch.set_num_threads(1)
