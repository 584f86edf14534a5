"""What is measured. A section is a function of the workspace; it yields its lines as soon as they are known."""
