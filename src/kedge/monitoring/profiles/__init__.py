"""What is known of a data set after any number of rows, in bounded memory.

A `profile` is its columns; a `column` has moments, a quantile sketch (`kll`) and a tally, which counts what differs
(`distinct`). All merge, so pieces may be counted apart; `profiling` does that on several cores.
"""
