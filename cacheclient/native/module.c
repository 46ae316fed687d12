/* The module: what it offers, and how it learns where Python's objects have their fields. */

#include "native.h"
#include <structmember.h>

Classes known;

int intern(PyObject **names, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        names[i] = PyUnicode_InternFromString(texts[i]);
        if (names[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

int number_in(PyObject *object, Py_ssize_t offset, long long *number)
{
    *number = PyLong_AsLongLong(FIELD(object, offset));
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

int set_number(PyObject *object, Py_ssize_t offset, long long number)
{
    PyObject *value = PyLong_FromLongLong(number);
    if (value == NULL) {
        return -1;
    }
    put(object, offset, value);
    return 0;
}

int raise_by(PyObject *object, Py_ssize_t offset, long long change, long long *sum)
{
    return number_in(object, offset, sum) || set_number(object, offset, *sum += change) ? -1 : 0;
}

int followed(PyObject *key, long mask, long below)
{
    Py_hash_t hash = PyObject_Hash(key);
    return hash == -1 ? -1 : (hash & mask) < below;
}

/* Put the offset of a field of `type` into `offset`. */
static int locate(PyTypeObject *type, const char *name, Py_ssize_t *offset)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL) {
        return -1;
    }
    int plain = Py_IS_TYPE(found, &PyMemberDescr_Type);
    PyMemberDef *member = plain ? ((PyMemberDescrObject *)found)->d_member : NULL;
    if (member == NULL || member->type != T_OBJECT_EX) {
        PyErr_Format(PyExc_TypeError, "%R has no member %s", type, name);
        Py_DECREF(found);
        return -1;
    }
    *offset = member->offset;
    Py_DECREF(found);
    return 0;
}

static PyObject *learn(PyObject *module, PyObject *types)
{
    (void)module;
    PyTypeObject *item, *stats, *gate, *stored, *type = &PyType_Type;
    if (!PyArg_ParseTuple(types, "O!O!O!O!:learn", type, &item, type, &stats, type, &gate, type, &stored)) {
        return NULL;
    }
    struct { PyTypeObject *type; const char *name; Py_ssize_t *offset; } fields[] = {
        {item, "key", &known.of_item.key},
        {item, "value", &known.of_item.value},
        {item, "expires", &known.of_item.expires},
        {item, "size", &known.of_item.size},
        {item, "check", &known.of_item.check},
        {item, "frequency", &known.of_item.frequency},
        {item, "place", &known.of_item.place},
        {stats, "hits", &known.of_stats.hits},
        {stats, "size_bytes", &known.of_stats.size_bytes},
        {stats, "entries", &known.of_stats.entries},
        {stats, "suspects", &known.of_stats.suspects},
        {gate, "until", &known.of_gate.until},
        {stored, "write_id", &known.of_stored.write_id},
        {stored, "written_ms", &known.of_stored.written_ms},
        {stored, "tags", &known.of_stored.tags},
        {stored, "size", &known.of_stored.size},
        {stored, "value", &known.of_stored.value},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (locate(fields[i].type, fields[i].name, fields[i].offset)) {
            return NULL;
        }
    }
    known.item = (PyTypeObject *)Py_NewRef(item);
    known.stats = (PyTypeObject *)Py_NewRef(stats);
    known.gate = (PyTypeObject *)Py_NewRef(gate);
    known.stored = (PyTypeObject *)Py_NewRef(stored);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"learn", learn, METH_VARARGS, "Learn, before anything else, where Item, TierStats, Gate and Stored have their fields."},
    {"hit_path", hit_path, METH_VARARGS, "Return the compiled form of what Local.reader returns."},
    {"settler", settler, METH_VARARGS, "Return the compiled shortcut of Reader.take."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "cacheclient.native._native", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__native(void)
{
    return prepare_queues() || prepare_fill() || prepare_settle() ? NULL : PyModule_Create(&definition);
}
