"""From a source to shops: loading, cleaning, dividing, and the embedded data set."""
