"""Full-ranking evaluation of local, federated and pooled recommenders on every surface."""
