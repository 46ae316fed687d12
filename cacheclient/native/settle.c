/* The answer to a batch of reads: what Reader.take does with it. */

#include "native.h"
#include <stdint.h>
#include <string.h>

static PyObject *names[8];
enum { DONE, SET_RESULT, BELOW, MISSED, FIRST, MORE, IDS, FENCES };

int prepare_settle(void)
{
    const char *texts[] = {"done", "set_result", "below", "missed", "first", "more", "ids", "fences"};
    return intern(names, texts, sizeof texts / sizeof *texts);
}

enum { CODEC_ID, PARSE, STORED, NOTHING, TAGS_OF, LOCAL, ABANDON, MASK, RULES };
enum { BATCH, KEYS, VALUES, STANDING, NOW, NOW_MS, FOLLOWER, ARGUMENTS };

/* The layout of an entry is in entry.py. */
enum { STATE_AT = 0, ID_AT = 1, ID_SIZE = 8, FORMAT_AT = 9, CODEC_AT = 10, FLAGS_AT = 11, WRITTEN_AT = 12, LIFETIME_AT = 20,
       LOAD_AT = 28, TAGS_AT = 32, HEADER = 34, FORMAT = 1, KNOWN_FLAGS = 3 };
#define LONGEST (1LL << 52) /* milliseconds: more of them a float cannot tell apart */

typedef struct {
    PyObject *rules, *standing, *now, *follower; /* the caller's */
    PyObject *first, *more, *ids, *fences;       /* the batch's */
    PyObject *section, *tags, *guards;           /* tags in the last entry, as bytes, decoded, and what L1 watches of them */
    long long now_ms;
    long codec_id, mask, below;
    Py_ssize_t hits, misses;
    Tier tier;
} Settling;

typedef struct {
    PyObject *found; /* what the caller gets: the Stored and its seconds left */
    PyObject *left;  /* the seconds, as an object; NULL if it is not fresh */
} Read;

enum { FAILED = -1, SETTLED = 0, NOT_ORDINARY = 1 };

/* Return what `dict` has under `key`, a new reference; NULL with KeyError. */
static PyObject *get(PyObject *dict, PyObject *key)
{
    PyObject *found = PyDict_GetItemWithError(dict, key);
    if (found == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return Py_XNewRef(found);
}

static uint64_t big_endian(const unsigned char *bytes, int size)
{
    uint64_t number = 0;
    for (int i = 0; i < size; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

/* Make `tags` and `guards` those of the `size` bytes at `section`; most entries of a batch have the same. */
static int know_tags(Settling *s, const unsigned char *section, Py_ssize_t size)
{
    if (s->section != NULL && PyBytes_GET_SIZE(s->section) == size
        && memcmp(PyBytes_AS_STRING(s->section), section, (size_t)size) == 0) {
        return s->guards == NULL ? NOT_ORDINARY : SETTLED;
    }
    Py_CLEAR(s->tags);
    Py_CLEAR(s->guards);
    Py_XSETREF(s->section, PyBytes_FromStringAndSize((const char *)section, size));
    if (s->section == NULL) {
        return FAILED;
    }
    s->tags = PyObject_CallOneArg(PyTuple_GET_ITEM(s->rules, TAGS_OF), s->section);
    if (s->tags == NULL) {
        return FAILED;
    }
    s->guards = Py_XNewRef(PyDict_GetItemWithError(s->standing, s->tags));
    if (s->guards == NULL) {
        return PyErr_Occurred() ? FAILED : NOT_ORDINARY;
    }
    return SETTLED;
}

/* Return the Stored of an ordinary entry; NULL without an exception if the codec refuses it. */
static PyObject *decoded(Settling *s, PyObject *raw, const unsigned char *bytes, Py_ssize_t start, long long written,
                         long long lifetime)
{
    Py_ssize_t size = PyBytes_GET_SIZE(raw);
    PyObject *payload = PyBytes_FromStringAndSize((const char *)bytes + start, size - start);
    if (payload == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_CallOneArg(PyTuple_GET_ITEM(s->rules, PARSE), payload);
    if (value == NULL) {
        Py_DECREF(payload);
        if (PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear(); /* the application's codec may raise anything: Serializer.load counts it */
        }
        return NULL;
    }
    PyObject *fields[] = {
        PyBytes_FromStringAndSize((const char *)bytes + ID_AT, ID_SIZE),
        Py_NewRef(PyTuple_GET_ITEM(s->rules, CODEC_ID)),
        PyLong_FromLongLong(written),
        PyLong_FromLongLong(lifetime),
        PyFloat_FromDouble((double)big_endian(bytes + LOAD_AT, 4) / 1e6),
        payload,
        PyLong_FromLong(0),
        Py_NewRef(s->tags),
        PyLong_FromSsize_t(size),
        value,
    };
    enum { FIELDS = sizeof fields / sizeof *fields };
    int whole = 1;
    for (int i = 0; i < FIELDS; i++) {
        whole = whole && fields[i] != NULL;
    }
    PyObject *stored = whole ? PyObject_Vectorcall(PyTuple_GET_ITEM(s->rules, STORED), fields, FIELDS, NULL) : NULL;
    for (int i = 0; i < FIELDS; i++) {
        Py_XDECREF(fields[i]);
    }
    return stored;
}

/* Read what `raw` holds: an ordinary entry, which has no flags, and whose tags stand; or nothing. */
static int read_entry(Settling *s, PyObject *raw, Read *read)
{
    if (raw == Py_None) {
        read->found = Py_NewRef(PyTuple_GET_ITEM(s->rules, NOTHING));
        return SETTLED;
    }
    if (!PyBytes_CheckExact(raw) || PyBytes_GET_SIZE(raw) < HEADER) {
        return NOT_ORDINARY;
    }
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(raw);
    if (bytes[STATE_AT] != 'V' || bytes[FORMAT_AT] != FORMAT || bytes[CODEC_AT] != s->codec_id || bytes[FLAGS_AT] & KNOWN_FLAGS) {
        return NOT_ORDINARY;
    }
    uint64_t written = big_endian(bytes + WRITTEN_AT, 8), lifetime = big_endian(bytes + LIFETIME_AT, 8);
    Py_ssize_t tags = (Py_ssize_t)big_endian(bytes + TAGS_AT, 2);
    if (PyBytes_GET_SIZE(raw) < HEADER + tags || written > LONGEST || lifetime > LONGEST) {
        return NOT_ORDINARY;
    }
    int stands = know_tags(s, bytes + HEADER, tags);
    if (stands != SETTLED) {
        return stands;
    }
    PyObject *stored = decoded(s, raw, bytes, HEADER + tags, (long long)written, (long long)lifetime);
    if (stored == NULL) {
        return PyErr_Occurred() ? FAILED : NOT_ORDINARY;
    }
    long long ms = (long long)(written + lifetime) - s->now_ms;
    double left = (double)(ms < (long long)lifetime ? ms : (long long)lifetime) / 1000;
    PyObject *seconds = PyFloat_FromDouble(left > 0 ? left : 0.0);
    read->found = seconds == NULL ? NULL : PyTuple_Pack(2, stored, seconds);
    if (read->found != NULL && left > 0) {
        read->left = Py_NewRef(seconds);
    }
    Py_XDECREF(seconds);
    Py_DECREF(stored);
    return read->found == NULL ? FAILED : SETTLED;
}

static int take_note_of_below(Settling *s)
{
    PyObject *below = PyObject_GetAttr(s->follower, names[BELOW]);
    s->below = below == NULL ? -1 : PyLong_AsLong(below);
    Py_XDECREF(below);
    return s->below == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Tell the follower of a miss of L1, if it follows `key`. */
static int follow(Settling *s, PyObject *key, const Read *read)
{
    int is_followed = s->follower == Py_None ? 0 : followed(key, s->mask, s->below);
    if (is_followed != 1) {
        return is_followed;
    }
    PyObject *one = PyLong_FromLong(1);
    if (one == NULL) {
        return -1;
    }
    PyObject *arguments[] = {s->follower, key, one, s->now, read->left == NULL ? Py_None : read->left};
    PyObject *told = PyObject_VectorcallMethod(names[MISSED], arguments, 5, NULL);
    Py_DECREF(one);
    Py_XDECREF(told);
    return told == NULL ? -1 : take_note_of_below(s);
}

/* Fill L1 with what is fresh, or give up the claim to fill it. */
static int end_claim(Settling *s, PyObject *key, PyObject *full, const Read *read)
{
    if (PyDict_GET_SIZE(s->fences) == 0) {
        return 0;
    }
    PyObject *fence = get(s->fences, full);
    if (fence == NULL) {
        return -1;
    }
    int failed;
    if (read->left != NULL) {
        PyObject *stored = PyTuple_GET_ITEM(read->found, 0), *guards = Py_NewRef(s->guards);
        failed = fill(&s->tier, key, fence, stored, s->now, read->left, guards);
        Py_DECREF(guards);
    }
    else {
        PyObject *arguments[] = {key, fence};
        PyObject *done = PyObject_Vectorcall(PyTuple_GET_ITEM(s->rules, ABANDON), arguments, 2, NULL);
        Py_XDECREF(done);
        failed = done == NULL;
    }
    Py_DECREF(fence);
    return failed ? -1 : 0;
}

/* Tell who waits for `full`; its caller may have been cancelled. */
static int tell(Settling *s, PyObject *full, PyObject *found)
{
    PyObject *waiter = get(s->first, full);
    if (waiter == NULL) {
        return -1;
    }
    PyObject *answer = PyObject_CallMethodNoArgs(waiter, names[DONE]);
    int done = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (done == 0) {
        answer = PyObject_CallMethodOneArg(waiter, names[SET_RESULT], found);
        Py_XDECREF(answer);
        done = answer == NULL ? -1 : 1;
    }
    Py_DECREF(waiter);
    return done == -1 ? -1 : 0;
}

/* Settle one read, if it is ordinary and one caller waits for it. */
static int settle_one(Settling *s, PyObject *full, PyObject *raw)
{
    int several = PyDict_GET_SIZE(s->more) == 0 ? 0 : PyDict_Contains(s->more, full);
    if (several != 0) {
        return several;
    }
    PyObject *key = get(s->ids, full);
    if (key == NULL) {
        return FAILED;
    }
    Read read = {NULL, NULL};
    int outcome = read_entry(s, raw, &read);
    if (outcome == SETTLED) {
        if (follow(s, key, &read) || end_claim(s, key, full, &read) || tell(s, full, read.found)) {
            outcome = FAILED;
        }
        *(read.left != NULL ? &s->hits : &s->misses) += 1;
    }
    Py_XDECREF(read.found);
    Py_XDECREF(read.left);
    Py_DECREF(key);
    return outcome;
}

/* Settle all that is ordinary of an answer; return the places of the rest, NULL with an exception. */
static PyObject *settle_all(Settling *s, PyObject *keys, PyObject *values) /* two tuples of one length */
{
    PyObject *rest = PyList_New(0);
    for (Py_ssize_t i = 0; rest != NULL && i < PyTuple_GET_SIZE(keys); i++) {
        int outcome = settle_one(s, PyTuple_GET_ITEM(keys, i), PyTuple_GET_ITEM(values, i));
        if (outcome == NOT_ORDINARY) {
            PyObject *place = PyLong_FromSsize_t(i);
            if (place == NULL || PyList_Append(rest, place) < 0) {
                outcome = FAILED;
            }
            Py_XDECREF(place);
        }
        if (outcome == FAILED) {
            Py_CLEAR(rest);
        }
    }
    return rest;
}

static int begin(Settling *s, PyObject *rules, PyObject *const *given)
{
    s->rules = rules;
    s->standing = given[STANDING];
    s->now = given[NOW];
    s->follower = given[FOLLOWER];
    s->codec_id = PyLong_AsLong(PyTuple_GET_ITEM(rules, CODEC_ID));
    s->mask = PyLong_AsLong(PyTuple_GET_ITEM(rules, MASK));
    s->now_ms = PyLong_AsLongLong(given[NOW_MS]);
    s->first = PyObject_GetAttr(given[BATCH], names[FIRST]);
    s->more = PyObject_GetAttr(given[BATCH], names[MORE]);
    s->ids = PyObject_GetAttr(given[BATCH], names[IDS]);
    s->fences = PyObject_GetAttr(given[BATCH], names[FENCES]);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!PyDict_Check(s->first) || !PyDict_Check(s->more) || !PyDict_Check(s->ids) || !PyDict_Check(s->fences)
        || !PyDict_Check(s->standing)) {
        PyErr_SetString(PyExc_TypeError, "settle: dicts in the batch, and of the tags that stand");
        return -1;
    }
    if (s->follower != Py_None && take_note_of_below(s)) {
        return -1;
    }
    return PyDict_GET_SIZE(s->fences) == 0 ? 0 : begin_fills(&s->tier, PyTuple_GET_ITEM(rules, LOCAL), s->mask);
}

static PyObject *settle(PyObject *rules, PyObject *const *given, Py_ssize_t count)
{
    if (count != ARGUMENTS) {
        PyErr_SetString(PyExc_TypeError, "settle(batch, keys, values, standing, now, now_ms, follower)");
        return NULL;
    }
    Settling s = {0};
    PyObject *result = NULL;
    PyObject *keys = PySequence_Tuple(given[KEYS]), *values = keys == NULL ? NULL : PySequence_Tuple(given[VALUES]);
    if (values != NULL && PyTuple_GET_SIZE(keys) != PyTuple_GET_SIZE(values)) {
        PyErr_SetString(PyExc_ValueError, "settle: as many values as keys");
    }
    else if (values != NULL && begin(&s, rules, given) == 0) {
        PyObject *rest = settle_all(&s, keys, values);
        result = rest == NULL ? NULL : Py_BuildValue("nnN", s.hits, s.misses, rest);
    }
    if (end_fills(&s.tier)) {
        Py_CLEAR(result);
    }
    PyObject *held[] = {keys, values, s.first, s.more, s.ids, s.fences, s.section, s.tags, s.guards};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++) {
        Py_XDECREF(held[i]);
    }
    return result;
}

static PyMethodDef settle_method = {
    "settle", (PyCFunction)(void (*)(void))settle, METH_FASTCALL,
    "Settle what is ordinary of an answer; return the hits, the misses, and the places of the rest."};

PyObject *settler(PyObject *module, PyObject *rules)
{
    (void)module;
    if (PyTuple_GET_SIZE(rules) != RULES) {
        PyErr_SetString(PyExc_TypeError, "settler(codec_id, parse, Stored, nothing, tags_of, local, abandon, mask)");
        return NULL;
    }
    return PyCFunction_New(&settle_method, rules);
}
