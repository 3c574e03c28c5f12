"""What a caller may ask for, parsed and checked once for every door (JSON, forms, command line)."""
