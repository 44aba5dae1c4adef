"""What a person starts: the embedded service (`fqt up`), its parts one by one, prediction, and the demo."""
