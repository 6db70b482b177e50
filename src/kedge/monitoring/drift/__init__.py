"""Has a column moved away from its baseline, since when, by how much, and is it the data or the concept?

`baseline` says what is usual of a column (`cells` count it, `aspects` score it, `season` and `usual` learn its course
in time), `judging` judges a series of windows by it (`evidence`, with `tails` for probabilities and `spending` for what
a month may be wrong), `verdict` names the kind of drift. All of these are of counts alone.

The rest is the part of a data quality job: `learning` puts a baseline's counts (of `kept_rows`) into statistics.json
and `known` reads them, `series` is the state from window to window, `segments` counts by a column's values, `file`,
`page` and `plots` write what was found, and `job` does it.
"""
