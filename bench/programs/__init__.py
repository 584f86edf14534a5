"""Programs that are measured beside the product, each as a process of its own."""
