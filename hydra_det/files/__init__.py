"""How anything is read and written safely: whole or not at all, and as plain values."""
