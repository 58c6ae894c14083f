"""Delivery: sends frozen results to their destinations."""
