"""Settings chosen by Optuna on tuning streams, trials and seeds as one population, and tried on fresh ones.

To follow a sweep: `question.py` (its file) -> `asking.py` (arms, studies, protocol) -> `loop.py` (ask, train, tell) ->
`population.py` -> `values.py` -> `best.py` (fresh seeds, what is found). The only importer of Optuna.
"""
