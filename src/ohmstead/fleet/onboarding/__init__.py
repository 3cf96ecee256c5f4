"""Taking chargers on: those that nobody registered, files of many, stickers."""
