"""Why a model says what it says: Shapley values of its features, and whether their order has moved."""
