"""Answers to what a central system may ask of a charge point, by subject."""
