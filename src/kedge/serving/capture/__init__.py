"""Data capture: what an endpoint's invocations said, as files on S3, without any of them waiting for it.

    tap.py        in the router: samples, and hands raw bytes over a Unix socket; drops, and counts, when that is full
    process.py    the capture process: reads them, applies the rules, spools
    spool.py      what waits for delivery, sealed, on the disk
    delivery.py   puts it into the object store, as whole objects

What is decided is in `rules` (what has to be hidden), `record` (SageMaker's format) and `frames` (bytes between the two
processes). docs/capture.md is the page about it.
"""
