/* S3-FIFO, as queues.py has it, on the deques, the counts and the ghosts of a Queues. */

#include "native.h"

enum { GONE, SMALL, MAIN }; /* where an entry is */

static PyObject *names[5];
enum { APPEND, POPLEFT, POPITEM, QUEUES, HELD };

int prepare_queues(void)
{
    const char *texts[] = {"append", "popleft", "popitem", "_queues", "_held"};
    return intern(names, texts, sizeof texts / sizeof *texts);
}

/* The deque of a place, borrowed from the queues; NULL with an exception. */
static PyObject *queue_at(const Tier *tier, int place)
{
    PyObject *all = PyObject_GetAttr(tier->queues, names[QUEUES]); /* not kept: a sweep of husks makes others */
    if (all == NULL) {
        return NULL;
    }
    PyObject *queue = PyTuple_Check(all) && PyTuple_GET_SIZE(all) == 3 ? PyTuple_GET_ITEM(all, place) : NULL;
    Py_DECREF(all); /* the queues hold it still */
    if (queue == NULL) {
        PyErr_SetString(PyExc_TypeError, "Queues._queues: three deques");
    }
    return queue;
}

/* Add `change` to the entries at a place, and return how many there are then; -1 with an exception. */
static long long held_at(const Tier *tier, long long place, int change)
{
    PyObject *held = PyObject_GetAttr(tier->queues, names[HELD]);
    PyObject *count = held == NULL ? NULL : PyList_GetItem(held, (Py_ssize_t)place);
    long long number = count == NULL ? -1 : PyLong_AsLongLong(count);
    if (number != -1 && change != 0) {
        number += change;
        PyObject *sum = PyLong_FromLongLong(number);
        if (sum == NULL || PyList_SetItem(held, (Py_ssize_t)place, sum) < 0) {
            number = -1;
        }
    }
    Py_XDECREF(held);
    return number;
}

static int push(const Tier *tier, PyObject *item, int place)
{
    PyObject *queue = queue_at(tier, place);
    PyObject *done = queue == NULL ? NULL : PyObject_CallMethodOneArg(queue, names[APPEND], item);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Return what is remembered of the key of an entry that has left. */
static PyObject *ghost_of(PyObject *item)
{
    Py_hash_t hash = PyObject_Hash(FIELD(item, known.of_item.key));
    return hash == -1 ? NULL : PyLong_FromSsize_t(hash);
}

/* Remember that a key has left, in place of the one that left first. */
static int remember(const Tier *tier, PyObject *item)
{
    PyObject *number = ghost_of(item);
    int failed = number == NULL || PyODict_SetItem(tier->ghost, number, Py_None) < 0;
    Py_XDECREF(number);
    if (!failed && PyODict_SIZE(tier->ghost) > tier->max_entries) {
        PyObject *first = PyObject_CallMethodOneArg(tier->ghost, names[POPITEM], Py_False);
        Py_XDECREF(first);
        failed = first == NULL;
    }
    return failed ? -1 : 0;
}

/* Whether the key has left lately; if so it is forgotten that it has. */
static int recall(const Tier *tier, PyObject *item)
{
    PyObject *number = ghost_of(item);
    int there = number == NULL ? -1 : PyDict_Contains(tier->ghost, number);
    if (there == 1 && PyODict_DelItem(tier->ghost, number) < 0) {
        there = -1;
    }
    Py_XDECREF(number);
    return there;
}

/* Take the next entry out of a queue that has one; a new reference. */
static PyObject *next_of(PyObject *queue)
{
    PyObject *item = queue == NULL ? NULL : PyObject_CallMethodNoArgs(queue, names[POPLEFT]);
    if (item != NULL && !Py_IS_TYPE(item, known.item)) {
        PyErr_Format(PyExc_TypeError, "the queues of L1 hold Items, not %R", item);
        Py_CLEAR(item);
    }
    return item;
}

/* Pass used entries on to the main queue; put the first unused one into `out`, NULL if all were used. */
static int from_small(const Tier *tier, PyObject **out)
{
    *out = NULL;
    for (;;) {
        PyObject *queue = queue_at(tier, SMALL);
        Py_ssize_t length = queue == NULL ? -1 : PyObject_Length(queue);
        if (length <= 0) {
            return (int)length;
        }
        PyObject *item = next_of(queue);
        long long place, frequency;
        if (item == NULL || number_in(item, known.of_item.place, &place) || held_at(tier, place, -1) == -1
            || number_in(item, known.of_item.frequency, &frequency)) {
            Py_XDECREF(item);
            return -1;
        }
        if (place == GONE) {
            Py_DECREF(item);
            continue;
        }
        if (frequency == 0) {
            *out = item;
            return set_number(item, known.of_item.place, GONE) || remember(tier, item) ? -1 : 0;
        }
        int failed = set_number(item, known.of_item.frequency, 0) || set_number(item, known.of_item.place, MAIN)
                     || held_at(tier, MAIN, 1) == -1 || push(tier, item, MAIN);
        Py_DECREF(item);
        if (failed) {
            return -1;
        }
    }
}

/* Give used entries another round; return the first unused one. */
static PyObject *from_main(const Tier *tier)
{
    for (;;) {
        PyObject *item = next_of(queue_at(tier, MAIN));
        long long place, frequency;
        if (item == NULL || number_in(item, known.of_item.place, &place)
            || number_in(item, known.of_item.frequency, &frequency)) {
            Py_XDECREF(item);
            return NULL;
        }
        int failed = 0, found = 0;
        if (place != GONE && frequency != 0) {
            failed = set_number(item, known.of_item.frequency, frequency - 1) || push(tier, item, MAIN);
        }
        else {
            failed = held_at(tier, place, -1) == -1;
            found = place != GONE;
            failed = failed || (found && set_number(item, known.of_item.place, GONE));
        }
        if (found && !failed) {
            return item;
        }
        Py_DECREF(item);
        if (failed) {
            return NULL;
        }
    }
}

PyObject *evict(const Tier *tier)
{
    long long small = held_at(tier, SMALL, 0), main_ = held_at(tier, MAIN, 0);
    if (small == -1 || main_ == -1) {
        return NULL;
    }
    if (small >= tier->max_small || main_ == 0) {
        PyObject *item;
        if (from_small(tier, &item) < 0) {
            Py_XDECREF(item);
            return NULL;
        }
        if (item != NULL) {
            return item;
        }
    }
    return from_main(tier);
}

int enter(const Tier *tier, PyObject *item)
{
    int left_lately = recall(tier, item);
    int place = left_lately == 1 ? MAIN : SMALL;
    if (left_lately == -1 || set_number(item, known.of_item.place, place) || held_at(tier, place, 1) == -1) {
        return -1;
    }
    return push(tier, item, place);
}
