"""Measurements of a running box. Each script prints one JSON document."""
