"""The observatory at the desk: pages, CSV, JSON, metrics, the oversight board's report (docs/observatory.md)."""
