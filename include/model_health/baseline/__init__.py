"""What a model was when it was accepted, and what a later model is held against it."""
