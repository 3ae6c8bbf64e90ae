"""Engines: a common interface (contract), the list of libraries (registry), and one module or package for each library."""
