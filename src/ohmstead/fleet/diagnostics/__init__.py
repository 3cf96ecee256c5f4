"""Diagnostics and logs that chargers upload."""
