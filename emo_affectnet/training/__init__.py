"""Training and evaluation: nothing outside this package imports it, except the command line inside a command."""
