/* The header fields of requests and responses that matter, out of all of them. */
#include "native.h"

#define LONGEST_FIELD_NAME 64

/* --- FieldFinder: the header fields that matter, out of all of a message --- */

typedef struct {
    PyObject_HEAD
    PyObject *names;       /* tuple of bytes, lower case */
    PyObject *comma;
    uint64_t lengths[256]; /* by first byte: bit n is set where a name of n bytes begins so */
} FieldFinder;

static PyObject *field_finder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *given;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "FieldFinder takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O", &given))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    FieldFinder *self = (FieldFinder *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->names = PySequence_Tuple(given);
    self->comma = PyBytes_FromString(", ");
    if (self->names == NULL || self->comma == NULL)
        goto failed;
    for (Py_ssize_t i = 0; i < PyTuple_Size(self->names); i++) {
        char *text;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(self->names, i), &text, &length) < 0)
            goto failed;
        if (length < 1 || length >= LONGEST_FIELD_NAME) {
            PyErr_SetString(PyExc_ValueError, "a name has 1 to 63 bytes");
            goto failed;
        }
        self->lengths[(unsigned char)text[0]] |= (uint64_t)1 << length;
    }
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static void field_finder_dealloc(PyObject *object)
{
    FieldFinder *self = (FieldFinder *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->names);
    Py_XDECREF(self->comma);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* The known name that a field has, borrowed; NULL without an exception where it is none of them. */
static PyObject *known_field(FieldFinder *self, PyObject *name)
{
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(name, &text, &length) < 0 || length < 1 || length >= LONGEST_FIELD_NAME)
        return NULL;
    const unsigned char *at = (const unsigned char *)text;
    if (!(self->lengths[lower[at[0]]] >> length & 1))
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_Size(self->names); i++) {
        PyObject *known = PyTuple_GetItem(self->names, i);
        const char *wanted = PyBytes_AsString(known);
        if (PyBytes_Size(known) != length)
            continue;
        Py_ssize_t same = 0;
        while (same < length && lower[at[same]] == (unsigned char)wanted[same])
            same++;
        if (same == length)
            return known;
    }
    return NULL;
}

static int add_field(FieldFinder *self, PyObject *found, PyObject *name, PyObject *value)
{
    PyObject *before = PyDict_GetItemWithError(found, name); /* borrowed */
    if (before == NULL)
        return PyErr_Occurred() ? -1 : PyDict_SetItem(found, name, value);
    Py_INCREF(before);
    PyObject *joined = before;
    PyBytes_Concat(&joined, self->comma);
    if (joined != NULL)
        PyBytes_Concat(&joined, value);
    if (joined == NULL)
        return -1;
    int failed = PyDict_SetItem(found, name, joined);
    Py_DECREF(joined);
    return failed;
}

static PyObject *field_finder_find(PyObject *object, PyObject *headers)
{
    FieldFinder *self = (FieldFinder *)object;
    if (!PyList_Check(headers)) {
        PyErr_SetString(PyExc_TypeError, "FieldFinder.find takes a list of pairs of bytes");
        return NULL;
    }
    PyObject *found = PyDict_New();
    if (found == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_Size(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i); /* borrowed */
        PyObject *name = PySequence_GetItem(pair, 0), *value = NULL, *known;
        if (name == NULL)
            goto failed;
        known = known_field(self, name);
        Py_DECREF(name);
        if (known == NULL) {
            if (PyErr_Occurred())
                goto failed;
            continue;
        }
        value = PySequence_GetItem(pair, 1);
        int failed = value == NULL || add_field(self, found, known, value) < 0;
        Py_XDECREF(value);
        if (failed)
            goto failed;
    }
    return found;
failed:
    Py_DECREF(found);
    return NULL;
}

static PyMethodDef field_finder_methods[] = {
    {"find", field_finder_find, METH_O, "Return those fields of a message by name, the lines of each as one."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot field_finder_slots[] = {
    {Py_tp_new, field_finder_new},
    {Py_tp_dealloc, field_finder_dealloc},
    {Py_tp_methods, field_finder_methods},
    {Py_tp_doc, "FieldFinder(names): finds the header fields of those names, given in lower case."},
    {0, NULL},
};

PyType_Spec field_finder_spec = {
    .name = "consent._speedups.FieldFinder",
    .basicsize = sizeof(FieldFinder),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = field_finder_slots,
};

/* --- glance: whether a request says anything that a decision depends on --- */

enum { SIGNAL = 1, CHOICE = 2, CHANGES = 4, WORKER = 8 };

/* Whether the cookie's name may stand in a Cookie field; wrong only towards yes. */
static int names_cookie(const char *line, Py_ssize_t length, const char *name, Py_ssize_t name_length)
{
    const char *at = line, *end = line + length;
    while (end - at >= name_length && (at = memchr(at, name[0], (size_t)(end - at - name_length + 1))) != NULL) {
        if (memcmp(at, name, (size_t)name_length) == 0)
            return 1;
        at++;
    }
    return 0;
}

static int same_name(const char *name, Py_ssize_t length, const char *wanted)
{
    return (size_t)length == strlen(wanted) && memcmp(name, wanted, (size_t)length) == 0;
}

PyObject *glance(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *headers, *cookie_name, *plain_codings;
    if (!PyArg_ParseTuple(args, "O!SO!", &PyList_Type, &headers, &cookie_name, &PySet_Type, &plain_codings))
        return NULL;
    char *cookie;
    Py_ssize_t cookie_length;
    if (PyBytes_AsStringAndSize(cookie_name, &cookie, &cookie_length) < 0)
        return NULL;
    if (cookie_length < 1) {
        PyErr_SetString(PyExc_ValueError, "the cookie has no name");
        return NULL;
    }
    long seen = 0;
    PyObject *line = NULL; /* borrowed from the headers */
    for (Py_ssize_t i = 0; i < PyList_Size(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i); /* borrowed */
        PyObject *key = PySequence_GetItem(pair, 0), *field = key ? PySequence_GetItem(pair, 1) : NULL;
        char *name, *value;
        Py_ssize_t length, value_length;
        int failed = field == NULL || PyBytes_AsStringAndSize(key, &name, &length) < 0 ||
                     PyBytes_AsStringAndSize(field, &value, &value_length) < 0;
        if (!failed)
            switch (length ? name[0] : 0) {
            case 'c':
                if (same_name(name, length, "cookie") && names_cookie(value, value_length, cookie, cookie_length)) {
                    line = seen & CHOICE ? NULL : field;
                    seen |= CHOICE;
                }
                break;
            case 's':
                if (same_name(name, length, "sec-gpc"))
                    seen |= SIGNAL;
                else if (same_name(name, length, "sec-fetch-dest") && value_length > 5 &&
                         memcmp(value + value_length - 6, "worker", 6) == 0)
                    seen |= WORKER;
                break;
            case 'd':
                if (same_name(name, length, "dnt"))
                    seen |= SIGNAL;
                break;
            case 'a':
                if (same_name(name, length, "accept-encoding")) {
                    int plain = PySet_Contains(plain_codings, field);
                    failed = plain < 0;
                    if (!plain)
                        seen |= CHANGES;
                }
                break;
            case 'i':
                if (same_name(name, length, "if-none-match") || same_name(name, length, "if-modified-since") ||
                    same_name(name, length, "if-range"))
                    seen |= CHANGES;
                break;
            case 'r':
                if (same_name(name, length, "range"))
                    seen |= CHANGES;
                break;
            }
        Py_XDECREF(key);
        Py_XDECREF(field);
        if (failed)
            return NULL;
    }
    return Py_BuildValue("(lO)", seen, line ? line : Py_None);
}
