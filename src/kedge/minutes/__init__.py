"""Minutes: what an endpoint was asked and answered, minute by minute, as sketches that merge.

    feeding.py     in the capture process: hands on what it has spooled, and never waits
    process.py     a process of its own beside it: reads the records, keeps their sketches, judges each minute
    gathering.py   records to minutes
    files.py       sketches on the disk, sealed, until they are too old
    baselines.py   in the control process: what minutes are judged by
    judging.py     what a minute's drift comes to, as metrics
    asking.py      the call that gives sketches away

They are made of what was captured, after its rules. docs/drift.md is the page about it.
"""
