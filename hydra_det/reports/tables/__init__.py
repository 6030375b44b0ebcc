"""Tables for the terminal, for papers and for spreadsheets."""
