"""Whether the operations of a device give the reference's results bit for bit, and how fast they are."""
