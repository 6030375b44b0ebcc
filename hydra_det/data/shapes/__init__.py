"""The built-in data set: pictures of coloured shapes, drawn once."""
