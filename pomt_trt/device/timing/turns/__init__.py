"""Members that take turns in rounds: engines in this process, or child processes of their own."""
