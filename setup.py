from setuptools import setup  # for the pip of JetPack 4, which reads no pyproject.toml

setup()
