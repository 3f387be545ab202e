"""What results are worth: uncertainty, the price of choosing, differences between pods."""
