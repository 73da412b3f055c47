"""The state in memory that answers: loaded, copied to the disk, browsed and explained."""
