"""One HTML page of a report: its sentences, its tables, its layout."""
