"""What ended a job, in one line: a drive that refuses, memory that runs out, a process that is gone."""
