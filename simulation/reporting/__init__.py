"""What all pages, terminals and files of results are made from.

Records, wording, plots, templates, progress.
"""
