"""What a monitor says of data: profiles, constraints, distances, violations; and the programs that its jobs run.

Reading (`reading`) makes pieces of rows, `profile` counts them in bounded memory, `statistics_file`, `constraints` and
`violations` write and judge SageMaker's files. `analyzer` is the container's program.
"""
