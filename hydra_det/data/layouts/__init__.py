"""Where the tools put things: which files and folders below `data.root` are the splits of a data set."""
