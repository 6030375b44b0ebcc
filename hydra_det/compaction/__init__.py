"""From masks to smaller networks and to files that other engines run."""
