"""Sample CT studies, each with origin and licence (README.md), and what makes them."""
