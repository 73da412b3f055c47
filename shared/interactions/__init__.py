"""One door into the data: columns, readers, cleaning, shops, splits."""
