"""Models as arrays and arithmetic: read from a fitted model, proven against it, and served in its place."""
