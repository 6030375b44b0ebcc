"""Images and videos: read, written, and drawn on."""
