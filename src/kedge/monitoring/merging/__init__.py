"""Labels joined to their records: the merge job. `labels` decides, `outputs` reads outputs of batch transforms."""
