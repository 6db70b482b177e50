"""How good the answers are, before any label is there: from the model's own probabilities, made honest by past labels.

`calibration` learns from labelled rows what the model's probabilities are worth. `estimates` reckons with them what the
metrics of unlabelled rows will turn out to be, with error bars.
"""
