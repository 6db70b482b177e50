"""What monitors say of data, and the programs that their jobs run.

A room for each concern: `reading` makes pieces of rows and `profiles` counts them; `data_quality`, `quality` (of
models), `bias`, `attribution` and `drift` judge; `clarify` and `merging` are jobs. `analyzer`, `merger` and `clarify`
are the programs of SageMaker's images, which `container`, `places` and `program` serve.
"""
