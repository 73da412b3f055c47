"""The profile model: text encoder, whitening, profiles and adapters."""
