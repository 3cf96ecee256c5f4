"""What chargers are set to, and what they should be set to."""
