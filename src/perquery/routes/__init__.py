"""HTTP endpoints, a file per family, thin: they read a request, ask a service, and write the answer."""
