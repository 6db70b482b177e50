"""Whether a data set, or a model's answers, treat one group of people as they treat the others."""
