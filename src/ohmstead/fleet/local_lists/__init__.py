"""The lists of tags that chargers hold themselves."""
