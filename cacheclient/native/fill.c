/* The fill of L1: Local.commit and Local._insert, for a key that L1 does not have. */

#include "native.h"
#include <math.h>

static PyObject *names[17], *draw;
enum { COMMIT, FOLLOW, CAPACITY, EVICTIONS, TABLE, FENCES, STATS, QUEUES, GHOST, FOLLOWER, BELOW_L1, TTL, JITTER, MAX_BYTES,
       MAX_ENTRIES, COPIES, MAX_SMALL };

int prepare_fill(void)
{
    const char *texts[] = {
        "commit", "_follow", "capacity", "evictions", "table", "_fences", "_stats", "_queues", "_ghost", "follower", "below_l1",
        "ttl", "_jitter", "max_bytes", "_max_entries", "copies", "_max_small"};
    if (intern(names, texts, sizeof texts / sizeof *texts)) {
        return -1;
    }
    PyObject *module = PyImport_ImportModule("random");
    draw = module == NULL ? NULL : PyObject_GetAttrString(module, "random");
    Py_XDECREF(module);
    return draw == NULL ? -1 : 0;
}

/* -- the table ----------------------------------------------------------------------------------------------------- */

static int count_entries(const Tier *tier)
{
    return set_number(tier->stats, known.of_stats.entries, PyDict_GET_SIZE(tier->table));
}

/* Give up the entry whose turn it is. */
static int give_up_one(Tier *tier)
{
    PyObject *item = evict(tier);
    if (item == NULL) {
        return -1;
    }
    long long size, sum;
    double expires = PyFloat_AsDouble(FIELD(item, known.of_item.expires));
    int failed = (expires == -1.0 && PyErr_Occurred()) || number_in(item, known.of_item.size, &size)
                 || PyDict_DelItem(tier->table, FIELD(item, known.of_item.key))
                 || (isinf(expires) && expires < 0 && raise_by(tier->stats, known.of_stats.suspects, -1, &sum))
                 || raise_by(tier->stats, known.of_stats.size_bytes, -size, &sum) || count_entries(tier);
    Py_DECREF(item);
    tier->evicted += 1;
    return failed ? -1 : 0;
}

static int take_in(Tier *tier, PyObject *key, PyObject *item, long long size)
{
    long long bytes;
    for (;;) {
        if (number_in(tier->stats, known.of_stats.size_bytes, &bytes)) {
            return -1;
        }
        if (PyDict_GET_SIZE(tier->table) < tier->max_entries && bytes + size <= tier->max_bytes) {
            break;
        }
        if (give_up_one(tier)) {
            return -1;
        }
    }
    if (enter(tier, item) || PyDict_SetItem(tier->table, key, item)) {
        return -1;
    }
    return raise_by(tier->stats, known.of_stats.size_bytes, size, &bytes) || count_entries(tier) ? -1 : 0;
}

/* Return the Item of an entry that lives until `left` is over, at most the tier's ttl less a random share. */
static PyObject *item_of(const Tier *tier, PyObject *key, PyObject *stored, PyObject *now, PyObject *left, PyObject *guards)
{
    PyObject *drawn = PyObject_CallNoArgs(draw);
    if (drawn == NULL) {
        return NULL;
    }
    double life = tier->ttl * (1 - tier->jitter * PyFloat_AsDouble(drawn)), seconds = PyFloat_AsDouble(left);
    Py_DECREF(drawn);
    PyObject *expires = PyFloat_FromDouble(PyFloat_AsDouble(now) + (life < seconds ? life : seconds));
    if (expires == NULL || PyErr_Occurred()) {
        Py_XDECREF(expires);
        return NULL;
    }
    PyObject *fields[] = {
        key, FIELD(stored, known.of_stored.value), expires, expires, FIELD(stored, known.of_stored.size),
        FIELD(stored, known.of_stored.write_id), FIELD(stored, known.of_stored.written_ms), Py_False,
        FIELD(stored, known.of_stored.tags), guards, Py_None,
    };
    PyObject *item = PyObject_Vectorcall((PyObject *)known.item, fields, sizeof fields / sizeof *fields, NULL);
    Py_DECREF(expires);
    return item;
}

/* Have the uses of an entry counted, if its key is followed: Local._follow. */
static int follow(const Tier *tier, PyObject *item, PyObject *now)
{
    int is_followed = followed(FIELD(item, known.of_item.key), tier->mask, tier->below);
    if (is_followed != 1) {
        return is_followed;
    }
    PyObject *arguments[] = {tier->local, item, now};
    PyObject *done = PyObject_VectorcallMethod(names[FOLLOW], arguments, 3, NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int fill(Tier *tier, PyObject *key, PyObject *fence, PyObject *stored, PyObject *now, PyObject *left, PyObject *guards)
{
    int there = tier->simple ? PyDict_Contains(tier->table, key) : 1;
    if (there != 0 || PyTuple_GET_SIZE(guards) != 0) {
        PyObject *arguments[] = {tier->local, key, fence, stored, now, left, guards};
        PyObject *done = there == -1 ? NULL : PyObject_VectorcallMethod(names[COMMIT], arguments, 7, NULL);
        Py_XDECREF(done);
        return done == NULL ? -1 : 0;
    }
    if (PyDict_GetItemWithError(tier->fences, key) != fence) {
        return PyErr_Occurred() ? -1 : 0;
    }
    long long size;
    if (PyDict_DelItem(tier->fences, key) || number_in(stored, known.of_stored.size, &size)) {
        return -1;
    }
    if (size > tier->max_bytes) {
        return 0;
    }
    PyObject *item = item_of(tier, key, stored, now, left, guards);
    int failed = item == NULL || take_in(tier, key, item, size) || follow(tier, item, now);
    Py_XDECREF(item);
    return failed ? -1 : 0;
}

/* -- the tier ------------------------------------------------------------------------------------------------------ */

/* Put a number that `object` has as an attribute into `number`. */
static int number_of(PyObject *object, int name, double *number)
{
    PyObject *found = PyObject_GetAttr(object, names[name]);
    *number = found == NULL ? -1.0 : PyFloat_AsDouble(found);
    Py_XDECREF(found);
    return *number == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int begin_fills(Tier *tier, PyObject *local, long mask)
{
    double max_bytes, max_entries, max_small, below = 0, copies;
    tier->local = Py_NewRef(local);
    tier->mask = mask;
    tier->table = PyObject_GetAttr(local, names[TABLE]);
    tier->fences = PyObject_GetAttr(local, names[FENCES]);
    tier->stats = PyObject_GetAttr(local, names[STATS]);
    tier->queues = PyObject_GetAttr(local, names[QUEUES]);
    tier->ghost = tier->queues == NULL ? NULL : PyObject_GetAttr(tier->queues, names[GHOST]);
    PyObject *follower = PyObject_GetAttr(local, names[FOLLOWER]);
    int failed = follower == NULL || (follower != Py_None && number_of(follower, BELOW_L1, &below));
    Py_XDECREF(follower);
    if (failed || PyErr_Occurred() || number_of(local, TTL, &tier->ttl) || number_of(local, JITTER, &tier->jitter)
        || number_of(local, MAX_BYTES, &max_bytes) || number_of(local, MAX_ENTRIES, &max_entries)
        || number_of(local, COPIES, &copies) || number_of(tier->queues, MAX_SMALL, &max_small)) {
        return -1;
    }
    tier->max_bytes = (long long)max_bytes;
    tier->max_entries = (long long)max_entries;
    tier->max_small = (long long)max_small;
    tier->below = (long)below;
    tier->simple = copies == 0.0 && PyDict_CheckExact(tier->table) && PyDict_CheckExact(tier->fences)
                   && PyODict_CheckExact(tier->ghost) && Py_IS_TYPE(tier->stats, known.stats);
    return 0;
}

/* Add to the entries that were given up for want of room. */
static int count_evicted(const Tier *tier)
{
    PyObject *counter = PyObject_GetAttr(tier->stats, names[EVICTIONS]);
    PyObject *before = counter == NULL ? NULL : PyObject_GetItem(counter, names[CAPACITY]);
    PyObject *more = before == NULL ? NULL : PyLong_FromLongLong(tier->evicted);
    PyObject *sum = more == NULL ? NULL : PyNumber_Add(before, more);
    int failed = sum == NULL || PyObject_SetItem(counter, names[CAPACITY], sum);
    Py_XDECREF(counter);
    Py_XDECREF(before);
    Py_XDECREF(more);
    Py_XDECREF(sum);
    return failed ? -1 : 0;
}

int end_fills(Tier *tier)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    int failed = tier->evicted != 0 && count_evicted(tier);
    PyObject *all[] = {tier->local, tier->table, tier->fences, tier->stats, tier->queues, tier->ghost};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        Py_XDECREF(all[i]);
    }
    if (type != NULL) {
        PyErr_Restore(type, value, trace); /* what went wrong first is told */
    }
    return failed || type != NULL ? -1 : 0;
}
