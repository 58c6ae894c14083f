"""The chaos campaign: kill, cut, pause and fill the real set; from outside, nothing is lost and nothing doubled."""
