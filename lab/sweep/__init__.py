"""Sweeps: hyperparameters asked of Optuna, trained as populations, chosen by an honest protocol."""
