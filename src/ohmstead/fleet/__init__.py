"""What an operator does with many chargers: taking them on, configuration, firmware, lists of tags."""
