"""Reference networks: each class takes one input's ``shape`` and the number of ``outputs``, then its own options."""
