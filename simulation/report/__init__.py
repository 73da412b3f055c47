"""What a run leaves for its readers: `report.json`, `report.html`, the terminal, TensorBoard."""
