"""Studies with results and verdicts for research, without identity: PS3.15 annex E (docs/research.md)."""
