"""Rendered, georeferenced town scenes with their exact truth: for the demo, for training and for tests."""
