"""What is measured. A section is a function that takes the ground and returns its lines, as soon as they are known."""
