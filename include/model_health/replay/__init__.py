"""The teacher-forced forward pass over accepted tokens, and what it is reduced to as it streams by."""
