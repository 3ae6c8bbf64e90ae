"""What both machines share: records, errors, schedules, statistics and files. Standard library and numpy; Python 3.6."""
