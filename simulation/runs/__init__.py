"""From settings to trained models.

Data, stored shops, engines, trainings side by side, the run folder.
"""
