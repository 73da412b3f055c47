"""The HTTP interface: middleware, schemas, errors and thin routes over the service."""
