"""Uses measured on a data set: rule, own model, federated and pooled, with intervals."""
