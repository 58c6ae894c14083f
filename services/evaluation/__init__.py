"""How good a model is on studies with reference masks: `vigie models evaluate`, `vigie models calibrate`.

references (what is true) -> run (what the model says) -> compare (one record a study) -> summary (figures with their
intervals) -> report (a page with plots). `calibrate` turns the same records into a map from scores to probabilities.
"""
