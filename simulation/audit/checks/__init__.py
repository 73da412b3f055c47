"""What is audited, and each check: a question that is answered with figures, passed or not."""
