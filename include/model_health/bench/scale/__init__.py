"""What the whole system costs at ten, a thousand and a hundred thousand models: measurements, a model, SCALE.md."""
