"""Engines: their interface (contract), the libraries (registry), and a module or package for each library."""
