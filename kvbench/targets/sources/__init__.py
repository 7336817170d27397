"""Ways to get a server: one module per package tool. Each fills an empty folder with one version."""
