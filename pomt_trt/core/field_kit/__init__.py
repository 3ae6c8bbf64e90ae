"""What a board's field kit collects (records, archive) and what a workstation reads in it (report)."""
