"""The API under schemathesis: all checks, stateful links, nothing left out. ``make fuzz`` runs it for long."""
