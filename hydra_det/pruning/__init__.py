"""From scores to masks: units, their allocation over layers, top-k; pure functions on tensors."""
