"""How large an installation must be: `vigie size` (docs/operations.md)."""
