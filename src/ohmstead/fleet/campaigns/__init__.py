"""The same work on many chargers, in waves."""
