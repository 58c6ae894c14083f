"""`make fuzz`: hostile bytes at every door of a service that really runs, and what must hold all the same."""
