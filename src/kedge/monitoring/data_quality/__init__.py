"""The data quality monitor: SageMaker's files written, read and judged by.

`statistics_file` and `constraints` are the baseline, `violations` judges a window by both (`distances` says how far its
values are), `feature_metrics` and `report` say what was seen; `job` does it.
"""
