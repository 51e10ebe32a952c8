"""Who watches the monitor: faults and harmless changes put into a loaded model, and whether replay tells them apart."""
