"""What a network is worth: average precision as COCO counts it, the worst case over attacks, latency, memory."""
