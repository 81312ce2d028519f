"""Ways to run the network. Nothing is imported here: each runtime's heavy library loads in its own file."""
