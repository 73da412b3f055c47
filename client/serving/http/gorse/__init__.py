"""The REST interface of Gorse 0.5 under `/gorse/api`, over the same service as the node's own."""
