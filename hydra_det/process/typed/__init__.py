"""What people type after the name of a script: read, and answered in one line where it cannot be meant."""
