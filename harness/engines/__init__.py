"""Who steps the tasks."""
