"""Sibling models in the same road: other backbones, engagement, and reading only as much of a video as it needs."""
