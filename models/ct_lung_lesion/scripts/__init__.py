"""How the demonstration model was made: phantoms, training, evaluation. None of this runs when the bundle is served."""
