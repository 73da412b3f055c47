"""The profile model: text encoder, item vectors, profile vectors, LoRA adapters."""
