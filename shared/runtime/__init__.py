"""The process and its machine: files, device, log, counters and the metrics endpoint."""
