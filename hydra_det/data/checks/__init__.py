"""What is wrong with a data set: the findings of every reader, and whether each picture can be decoded."""
