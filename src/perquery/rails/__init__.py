"""Ways to be paid: a file each, receive only."""
