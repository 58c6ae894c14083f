"""The language of the field, pure: no I/O, no clock, no environment; standard library and numpy only."""
