"""The consistency fuzz: real processes, random failures from a seed, and a checker over everything that was recorded.

Worker processes use the cache as applications do. Writers commit a new version of a row to a database outside Redis,
then invalidate (or set) its key; readers read. Meanwhile Redis nodes, Sentinels and the workers themselves are killed
and frozen, the master role is handed over, and networks are cut and slowed. Every process records what it did by
CLOCK_MONOTONIC, which is one clock for the whole machine. Afterwards the checker applies the promises of the cache:

fleet    a read returns no version older than the newest one whose invalidation was acknowledged ``max_staleness`` or
         more before the read began. Nothing is added for the read's own duration.
own      a read returns no version older than the newest one that the same process had invalidated before, whether
         that was acknowledged or not, and without any grace.
future   no read returns a version that was not yet committed when the read ended.
key      a read returns the row that was asked for.
end      when all is healed and the writers have rested, no entry in Redis differs from the database.

Keys are written in several ways (``Mode``), told apart in the report. ``durable`` invalidations keep every promise,
always. ``fast`` invalidations, those by ``tag`` and ``pattern``, and ``set`` are acknowledged by the master alone: if
it crashes before a replica has them, they are undone until the writer has repeated them on the new master. The checker
excuses such a read only if every newer acknowledged version falls into the window of one unplanned change of master
(``Lapse``), and reports it.

Rate limits are hit meanwhile, and held to promises of their own: see ``limit_checker``.

Half of the keys live for seconds, so that values are refreshed early, served past their time while they are loaded
anew, and served although their loader fails, all the time: none of that may bring back what was invalidated.
"""
