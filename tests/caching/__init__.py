"""Caches in front: nginx with the configuration of the documentation."""
