"""What people and Prometheus read of a service: A/B test, user profiles, privacy, metrics."""
