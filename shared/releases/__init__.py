"""Release mechanisms: item counts and co-purchase pairs, and what is estimated from them."""
