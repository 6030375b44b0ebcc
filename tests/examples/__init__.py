"""The examples that bring code of a user's own, and the page that shows it."""
