"""The dispatcher: takes jobs from the queue, asks the aligner for the whole chain, and writes down what comes back.

A process of its own, so that HTTP load cannot starve heartbeats. `process` starts it and stops it, `loops` is what it
does all the time, `attempts` is the work on one job, `capacity` asks services how much they can take.
"""

from singscript_gateway.dispatcher.process import MigrationsMissing, run

__all__ = ["MigrationsMissing", "run"]
