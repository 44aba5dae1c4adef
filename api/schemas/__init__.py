"""The wire shape: what requests and answers look like in JSON."""
