"""What an operator does by a command beside running: each a module, used by the command line and the dashboard."""
