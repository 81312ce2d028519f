"""Programs that fit, evaluate and describe models. Run from the checkout: python -m training --help."""
