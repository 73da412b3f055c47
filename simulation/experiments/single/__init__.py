"""One run and its control: `report.json`, `report.html`, the terminal, TensorBoard."""
