"""Vigie: imaging inference for tumour-detection triage. The path is the import (docs/architecture.md)."""

from importlib.metadata import version

__version__ = version("vigie")
