"""What an operator does beside runs, a module each: the command line and the dashboard call them."""
