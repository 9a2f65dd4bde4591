"""Settings chosen by Optuna on tuning streams, trials and seeds as one population, and tried on fresh ones. The only importer of
Optuna."""
