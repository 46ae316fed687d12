/* The paths that nearly every lookup takes, compiled: a hit of L1, the answer to a batch of reads, and the fill of L1.
 *
 * All are shortcuts. The rules are in Python, whole and for every case: Local.reader, Reader.take, Local.commit, Queues.
 * What is done here is what they do for the ordinary case, step by step, on the same objects; whatever is out of the
 * ordinary goes back to them. So without a compiler, or with CACHE_PURE_PYTHON set, everything works, and takes longer.
 *
 * A function that is made here is a builtin whose `self` is the tuple of what it needs. The fields of Structs and of
 * classes with slots are reached by their offset in the object, which their member descriptors tell.
 *
 * Python code may run in any call of a callable: a clock, a codec, a follower. Whatever is used after one is held by a
 * reference of its own, because that code may drop the entry.
 *
 * Functions that return int return -1 with an exception set, unless they say otherwise.
 */

#ifndef CACHECLIENT_NATIVE_H
#define CACHECLIENT_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The classes whose objects are looked into, and the offsets of their fields. */
typedef struct {
    PyTypeObject *item, *stats, *gate, *stored;
    struct { Py_ssize_t key, value, expires, size, check, frequency, place; } of_item;
    struct { Py_ssize_t hits, size_bytes, entries, suspects; } of_stats;
    struct { Py_ssize_t until; } of_gate;
    struct { Py_ssize_t write_id, written_ms, tags, size, value; } of_stored;
} Classes;

extern Classes known;

#define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* Make `value` the field at `offset`; takes the reference to it. */
static inline void put(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    PyObject *old = FIELD(object, offset);
    FIELD(object, offset) = value;
    Py_XDECREF(old);
}

/* Put the whole number in the field at `offset` into `number`; make it `number`; add `change`, and tell the sum. */
int number_in(PyObject *object, Py_ssize_t offset, long long *number);
int set_number(PyObject *object, Py_ssize_t offset, long long number);
int raise_by(PyObject *object, Py_ssize_t offset, long long change, long long *sum);

/* Return 1 if a key is one of those that are followed (see sizing), 0 if it is not. */
int followed(PyObject *key, long mask, long below);

/* Make each of `names` the interned string of its text. */
int intern(PyObject **names, const char *const *texts, size_t count);

/* An L1 while the fills of one batch go into it: what they do not change is read once. */
typedef struct {
    PyObject *local, *table, *fences, *stats, *queues, *ghost; /* references */
    double ttl, jitter;
    long long max_bytes, max_entries, max_small, evicted;
    long mask, below;
    int simple; /* whether it is made of what is expected, and holds the values themselves */
} Tier;

int begin_fills(Tier *tier, PyObject *local, long mask);

/* Count what was given up, and let go of the tier. An exception that was set before stays. */
int end_fills(Tier *tier);

/* Store an entry if its fence still stands, as Local.commit does; `left` is a float. */
int fill(Tier *tier, PyObject *key, PyObject *fence, PyObject *stored, PyObject *now, PyObject *left, PyObject *guards);

/* Take in a new entry: Queues.add. Take out the one whose turn it is, as a new reference: Queues.evict. */
int enter(const Tier *tier, PyObject *item);
PyObject *evict(const Tier *tier);

int prepare_queues(void);
int prepare_fill(void);
int prepare_settle(void);
PyObject *hit_path(PyObject *module, PyObject *state);
PyObject *settler(PyObject *module, PyObject *rules);

#endif
