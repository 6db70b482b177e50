"""Drift by the minute: what is captured now, counted beside the baseline of a data quality job.

`sketch` is what a minute comes to without a baseline, as the server keeps it (kedge.minutes); `minutes` counts such
sketches, or captured records, into a baseline's cells, a row of counts for each column and minute. Such rows add up, so
minutes make windows of any length, and a record is read once.
"""
