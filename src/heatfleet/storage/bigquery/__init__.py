"""Readings and figures in BigQuery: appended by the Storage Write API, reckoned by SQL inside it."""
