"""What both machines share: records, errors, schedules, statistics, files. Standard library, numpy; Python 3.6."""
