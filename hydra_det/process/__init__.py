"""What surrounds every command: its config, errors as one line, Ctrl-C, drives, memory, further processes."""
