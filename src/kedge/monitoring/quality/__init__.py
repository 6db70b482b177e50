"""How good a model's answers are, by labels that came later: metrics, their deviations, what a baseline allows."""
