"""Who asks, and whether they may: signing in, sessions, keys, and the rules of each path."""
