"""The HTTP API: routes, schemas, authentication and the event stream. Imports neither torch nor the worker."""
