"""Token counts block by block: a schedule, what its blocks cost, and the Pareto set of schedules."""
