"""Requests that mean harm: each is refused with a typed 4xx, quickly, and without much memory."""
