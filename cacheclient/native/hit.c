/* A hit of L1: what Local.reader returns. */

#include "native.h"
#include <time.h>

enum { TABLE, CLOCK, GATE, STATS, SAMPLE, EVERY, MOST, ABSENT, HIT_STATE };

/* Return the time of `clock`, by which the lives in L1 are measured; None stands for CLOCK_BOOTTIME. */
static double time_of(PyObject *clock)
{
    if (clock == Py_None) {
        struct timespec now;
        clock_gettime(CLOCK_BOOTTIME, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    PyObject *now = PyObject_CallNoArgs(clock);
    if (now == NULL) {
        return -1.0;
    }
    double seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return seconds;
}

/* Return 1 if `item` may answer now, 0 if it may not, -1 with an exception. */
static int answers(PyObject *item, PyObject *clock, PyObject *gate)
{
    double now = time_of(clock);
    if (now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    double expires = PyFloat_AsDouble(FIELD(item, known.of_item.expires));
    double until = PyFloat_AsDouble(FIELD(gate, known.of_gate.until));
    if ((expires == -1.0 || until == -1.0) && PyErr_Occurred()) {
        return -1;
    }
    if (!(expires > now && now < until)) {
        return 0;
    }
    if (FIELD(item, known.of_item.check) == Py_None) {
        return 1;
    }
    PyObject *check = Py_NewRef(FIELD(item, known.of_item.check));
    PyObject *stands = PyObject_CallNoArgs(check);
    Py_DECREF(check);
    int truth = stands == NULL ? -1 : PyObject_IsTrue(stands);
    Py_XDECREF(stands);
    return truth;
}

/* Count a use of `item`, and the hit; have one in so many timed. */
static int count_hit(PyObject *state, PyObject *item, PyObject *key)
{
    PyObject *stats = PyTuple_GET_ITEM(state, STATS);
    long long frequency, hits;
    if (number_in(item, known.of_item.frequency, &frequency)
        || (frequency < PyLong_AsLong(PyTuple_GET_ITEM(state, MOST)) && set_number(item, known.of_item.frequency, frequency + 1))
        || raise_by(stats, known.of_stats.hits, 1, &hits)) {
        return -1;
    }
    if (hits % PyLong_AsLong(PyTuple_GET_ITEM(state, EVERY)) == 0) {
        PyObject *sampled = PyObject_CallOneArg(PyTuple_GET_ITEM(state, SAMPLE), key);
        Py_XDECREF(sampled);
        return sampled == NULL ? -1 : 0;
    }
    return 0;
}

static PyObject *peek(PyObject *state, PyObject *key)
{
    PyObject *absent = PyTuple_GET_ITEM(state, ABSENT);
    PyObject *item = PyDict_GetItemWithError(PyTuple_GET_ITEM(state, TABLE), key);
    if (item == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(absent);
    }
    if (!Py_IS_TYPE(item, known.item)) {
        return PyErr_Format(PyExc_TypeError, "L1 holds Items, not %R", item);
    }
    Py_INCREF(item);
    PyObject *value = NULL;
    int may = answers(item, PyTuple_GET_ITEM(state, CLOCK), PyTuple_GET_ITEM(state, GATE));
    if (may == 0) {
        value = Py_NewRef(absent);
    }
    else if (may == 1 && count_hit(state, item, key) == 0) {
        value = Py_NewRef(FIELD(item, known.of_item.value));
    }
    Py_DECREF(item);
    return value;
}

static PyMethodDef peek_method = {
    "peek", peek, METH_O, "Return the value that L1 has under a key and may answer with now, or ABSENT."};

PyObject *hit_path(PyObject *module, PyObject *state)
{
    (void)module;
    if (PyTuple_GET_SIZE(state) != HIT_STATE || !PyDict_CheckExact(PyTuple_GET_ITEM(state, TABLE))
        || !PyObject_TypeCheck(PyTuple_GET_ITEM(state, GATE), known.gate)
        || !PyObject_TypeCheck(PyTuple_GET_ITEM(state, STATS), known.stats)) {
        PyErr_SetString(PyExc_TypeError, "hit_path(table, clock, gate, stats, sample, every, most, absent)");
        return NULL;
    }
    return PyCFunction_New(&peek_method, state);
}
