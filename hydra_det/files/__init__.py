"""How anything is read and written safely: whole or not at all, by one at a time, and as plain values."""
