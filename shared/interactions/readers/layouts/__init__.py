"""One file for each known layout of published data sets."""
