"""Commands that are built on the stages, or stand beside them: compare, field-kit and train."""
