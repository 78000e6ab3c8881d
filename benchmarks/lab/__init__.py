"""What every measurement stands on: environments, private servers, processes, and lines of a report."""
