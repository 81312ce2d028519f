"""Programs that turn trained weights into what runs on a robot. Run from the checkout, each has --help."""
