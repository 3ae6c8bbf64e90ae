"""Engines: the contract, the registry of libraries, and one module or package a library."""
