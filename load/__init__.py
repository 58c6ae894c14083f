"""`make load`: a hospital's busiest hour before the production set, and what breaks first."""
