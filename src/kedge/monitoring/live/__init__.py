"""Drift by the minute: what is captured now, counted beside the baseline of a data quality job.

`known` makes columns of statistics.json; `minutes` counts captured records into their cells, a row of counts for each
column and minute. Such rows add up, so minutes make windows of any length, and a record is read once.
"""
