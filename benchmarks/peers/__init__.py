"""What people would write or install instead, measured beside Heatfleet in the same run."""
