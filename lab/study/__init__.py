"""Questions asked beforehand: one YAML in `sweeps/` says the claim, the cells, the seeds and the test; the lab answers."""
