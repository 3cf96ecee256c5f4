"""Charging profiles and the sharing of power."""
