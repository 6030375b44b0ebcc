"""What a run leaves: its record, what a suite of attacks and a search found, and the table of many records."""
