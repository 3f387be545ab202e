"""The walk-forward: plan, folds, tasks of a fold, assembly, results on disk."""
