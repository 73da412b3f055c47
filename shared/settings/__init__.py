"""Settings: their fields and bounds, and the files, environment and options they come from."""
