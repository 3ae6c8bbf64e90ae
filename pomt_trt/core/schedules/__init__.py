"""Token counts block by block: schedules, what their blocks cost, and the Pareto set of schedules."""
