"""Segmenter: in this process, or Triton; and the catalogue of bundles."""
