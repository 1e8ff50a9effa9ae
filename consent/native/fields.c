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
    if (!PyBytes_CheckExact(name) && !PyBytes_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "the name of a field is bytes");
        return NULL;
    }
    Py_ssize_t length = Py_SIZE(name);
    if (length < 1 || length >= LONGEST_FIELD_NAME)
        return NULL;
    const unsigned char *at = (const unsigned char *)PyBytes_AsString(name);
    if (!(self->lengths[lower[at[0]]] >> length & 1))
        return NULL;
    for (Py_ssize_t i = 0; i < Py_SIZE(self->names); i++) {
        PyObject *known = PyTuple_GetItem(self->names, i);
        if (Py_SIZE(known) != length)
            continue;
        const char *wanted = PyBytes_AsString(known);
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
        PyObject *pair = PyList_GetItem(headers, i);
        Py_INCREF(pair); /* whatever it does when it is read */
        PyObject *name = part_of_field(pair, 0), *known = name ? known_field(self, name) : NULL, *value = NULL;
        int failed = known == NULL && PyErr_Occurred();
        if (known != NULL) {
            value = part_of_field(pair, 1);
            failed = value == NULL || add_field(self, found, known, value) < 0;
        }
        Py_XDECREF(value);
        Py_XDECREF(name);
        Py_DECREF(pair);
        if (failed)
            goto failed;
    }
    return found;
failed:
    Py_DECREF(found);
    return NULL;
}

int only_field(PyObject *finder, PyObject *headers, const char *wanted, PyObject **value)
{
    FieldFinder *self = (FieldFinder *)finder;
    *value = NULL;
    for (Py_ssize_t i = 0; i < PyList_Size(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i); /* borrowed */
        if (!PyTuple_CheckExact(pair))
            return 0;
        PyObject *name = part_of_field(pair, 0);
        PyObject *known = name ? known_field(self, name) : NULL;
        Py_XDECREF(name);
        if (known == NULL) {
            if (PyErr_Occurred())
                return -1;
            continue;
        }
        if (*value != NULL || strcmp(PyBytes_AsString(known), wanted) != 0)
            return 0;
        if ((*value = part_of_field(pair, 1)) == NULL)
            return -1;
    }
    return *value != NULL;
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

/* The fields that matter, by the lengths of their names: of most others no more is read. */
#define LENGTH(name) ((uint32_t)1 << (sizeof(name) - 1))
static const uint32_t looked_into = LENGTH("cookie") | LENGTH("sec-fetch-dest") | LENGTH("accept-encoding");
static const uint32_t looked_at = LENGTH("sec-gpc") | LENGTH("dnt") | LENGTH("range") | LENGTH("if-range") |
                                  LENGTH("if-none-match") | LENGTH("if-modified-since");

int is_member(PyObject *set, PyObject *value, PyObject **last)
{
    if (*last != NULL && Py_SIZE(*last) == Py_SIZE(value) &&
        memcmp(PyBytes_AsString(*last), PyBytes_AsString(value), (size_t)Py_SIZE(value)) == 0)
        return 1;
    int found = PySet_Contains(set, value);
    if (found == 1) {
        PyObject *before = *last;
        Py_INCREF(*last = value);
        Py_XDECREF(before);
    }
    return found;
}

/* Whether bytes are the text, whose length is theirs. */
#define IS(text) (length == sizeof(text) - 1 && memcmp(name, text, sizeof(text) - 1) == 0)

int glance_at(PyObject *headers, PyObject *cookie_name, PyObject *plain_codings, PyObject **last_plain,
              PyObject **line)
{
    int seen = 0, stay = 1; /* what was found in the pairs stays there */
    *line = NULL;
    for (Py_ssize_t i = 0; i < Py_SIZE(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i);
        Py_INCREF(pair); /* whatever it does when it is read */
        stay = stay && (PyTuple_CheckExact(pair) || PyList_CheckExact(pair));
        PyObject *key = part_of_field(pair, 0);
        if (key == NULL) {
            Py_DECREF(pair);
            return -1;
        }
        size_t length = PyBytes_CheckExact(key) || PyBytes_Check(key) ? (size_t)Py_SIZE(key) : 0;
        uint32_t by_length = length < 32 ? (uint32_t)1 << length : 0;
        int failed = 0;
        if (by_length & (looked_into | looked_at)) {
            const char *name = PyBytes_AsString(key);
            PyObject *field = NULL;
            if (by_length & looked_into && (IS("cookie") || IS("sec-fetch-dest") || IS("accept-encoding"))) {
                char *value;
                Py_ssize_t value_length;
                field = part_of_field(pair, 1);
                failed = field == NULL || PyBytes_AsStringAndSize(field, &value, &value_length) < 0;
                if (failed) {
                    ;
                } else if (name[0] == 'c') {
                    if (names_cookie(value, value_length, PyBytes_AsString(cookie_name), Py_SIZE(cookie_name))) {
                        *line = seen & SEEN_CHOICE ? NULL : field;
                        seen |= SEEN_CHOICE;
                    }
                } else if (name[0] == 's') {
                    if (value_length > 5 && memcmp(value + value_length - 6, "worker", 6) == 0)
                        seen |= SEEN_WORKER;
                    else if ((value_length == 6 && memcmp(value, "script", 6) == 0) ||
                             (value_length == 5 && memcmp(value, "style", 5) == 0))
                        seen |= SEEN_CODE;
                } else {
                    int plain = is_member(plain_codings, field, last_plain);
                    failed = plain < 0;
                    if (!plain)
                        seen |= SEEN_CHANGES;
                }
                Py_XDECREF(field);
            } else if (IS("sec-gpc") || IS("dnt")) {
                seen |= SEEN_SIGNAL;
            } else if (IS("range") || IS("if-range") || IS("if-none-match") || IS("if-modified-since")) {
                seen |= SEEN_CHANGES;
            }
        }
        Py_DECREF(key);
        Py_DECREF(pair);
        if (failed)
            return -1;
    }
    if (!stay)
        *line = NULL;
    return seen;
}

PyObject *glance(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *headers, *cookie_name, *plain_codings, *last = NULL, *line;
    if (!PyArg_ParseTuple(args, "O!SO!", &PyList_Type, &headers, &cookie_name, &PySet_Type, &plain_codings))
        return NULL;
    if (PyBytes_Size(cookie_name) < 1) {
        PyErr_SetString(PyExc_ValueError, "the cookie has no name");
        return NULL;
    }
    int seen = glance_at(headers, cookie_name, plain_codings, &last, &line);
    Py_XDECREF(last);
    return seen < 0 ? NULL : Py_BuildValue("(iO)", seen, line ? line : Py_None);
}
