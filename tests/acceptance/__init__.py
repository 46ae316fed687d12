"""Every acceptance figure of the bundle in one table, each seen by a command that does the real thing.

The commands are those that anybody can run by themselves: the show and the example service on a set that is started
for them, the drill, the fuzz, and what writes the rules and the boards. Their JSON is judged here, nothing is measured
here. A figure that a command did not give is missed, and so is every figure of a command that could not run.
"""
