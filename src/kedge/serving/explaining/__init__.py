"""Explanations of single answers while an endpoint serves: an explainer beside the model of each instance."""
