/* Tags, comments and the ends of raw text (HTML Standard, 13.2.5.6 to 13.2.5.51). */
#include "native.h"

Bytes find_named(Bytes at, Bytes end, const char *name, size_t length)
{
    /* "<", the name, and the byte that ends it */
    while (end - at > (Py_ssize_t)length + 1 &&
           (at = memchr(at, '<', (size_t)(end - at) - length - 1)) != NULL) {
        size_t same = 0;
        while (same < length && lower[at[1 + same]] == (unsigned char)name[same])
            same++;
        if (same == length && is_a(ENDS_NAME, at[1 + length]))
            return at;
        at++;
    }
    return NULL;
}

Bytes comment_end(Bytes at, Bytes end)
{
    if (at < end && *at == '>')
        return at + 1;
    if (end - at > 1 && at[0] == '-' && at[1] == '>')
        return at + 2;
    while (end - at > 2 && (at = memchr(at, '-', (size_t)(end - at) - 2)) != NULL) {
        if (at[1] == '-') {
            if (at[2] == '>')
                return at + 3;
            if (at[2] == '!' && end - at > 3 && at[3] == '>')
                return at + 4;
        }
        at++;
    }
    return NULL;
}

static PyObject *folded(Bytes text, size_t length)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (result != NULL) {
        char *target = PyBytes_AsString(result);
        for (size_t i = 0; i < length; i++)
            target[i] = (char)lower[text[i]];
    }
    return result;
}

static PyObject *made(PyObject *type, PyObject *fields)
{
    if (fields == NULL)
        return NULL;
    newfunc make = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
    PyObject *args = PyTuple_Pack(1, fields);
    Py_DECREF(fields);
    if (args == NULL)
        return NULL;
    PyObject *result = make((PyTypeObject *)type, args, NULL);
    Py_DECREF(args);
    return result;
}

PyObject *start_tag(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer view;
    Py_ssize_t start;
    PyObject *tag_type, *attribute_type;
    if (!PyArg_ParseTuple(args, "y*nOO", &view, &start, &tag_type, &attribute_type))
        return NULL;
    PyObject *result = NULL, *found = NULL, *name = NULL;
    if (start < 0 || start >= view.len || !PyType_Check(tag_type) || !PyType_Check(attribute_type) ||
        !PyType_IsSubtype((PyTypeObject *)tag_type, &PyTuple_Type) ||
        !PyType_IsSubtype((PyTypeObject *)attribute_type, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "start_tag needs a place within the page, and two classes of tuples");
        goto done;
    }
    Bytes page = view.buf, end = page + view.len, at = page + start + 1, name_start = at;
    while (at < end && !is_a(ENDS_NAME, *at))
        at++;
    if (at == end || at == name_start || !is_a(LETTER, *name_start))
        goto incomplete;
    name = folded(name_start, (size_t)(at - name_start));
    found = name ? PyList_New(0) : NULL;
    if (found == NULL)
        goto done;
    Attribute attribute;
    Bytes last = NULL;
    int outcome;
    while ((outcome = next_attribute(&at, end, &attribute)) == ATTRIBUTE) {
        PyObject *attribute_name = folded(attribute.name, (size_t)(attribute.name_end - attribute.name));
        if (attribute_name == NULL)
            goto done;
        size_t length = attribute.value ? (size_t)(attribute.value_end - attribute.value) : 0;
        PyObject *entry = made(attribute_type, Py_BuildValue(
            "(Ny#nnn)", attribute_name, attribute.value ? (const char *)attribute.value : "", (Py_ssize_t)length,
            (Py_ssize_t)(attribute.name - page), (Py_ssize_t)(attribute.end - page),
            attribute.value ? (Py_ssize_t)(attribute.value - page) : (Py_ssize_t)-1));
        if (entry == NULL)
            goto done;
        int failed = PyList_Append(found, entry);
        Py_DECREF(entry);
        if (failed)
            goto done;
        last = attribute.end;
    }
    if (outcome == INCOMPLETE)
        goto incomplete;
    /* A slash belongs to an unquoted value that it ends. */
    int self_closing = at[-2] == '/' && last != at - 1;
    result = made(tag_type, Py_BuildValue("(OnnOO)", name, start, (Py_ssize_t)(at - page), found,
                                          self_closing ? Py_True : Py_False));
    goto done;
incomplete:
    result = Py_None;
    Py_INCREF(result);
done:
    Py_XDECREF(name);
    Py_XDECREF(found);
    PyBuffer_Release(&view);
    return result;
}

PyObject *find_tag(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer view;
    Py_ssize_t position, length;
    const char *name;
    if (!PyArg_ParseTuple(args, "y*ny#", &view, &position, &name, &length))
        return NULL;
    if (position < 0 || position > view.len) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_IndexError, "the position is not within the page");
        return NULL;
    }
    Bytes page = view.buf, found = find_named(page + position, page + view.len, name, (size_t)length);
    Py_ssize_t offset = found ? (Py_ssize_t)(found - page) : -1;
    PyBuffer_Release(&view);
    return PyLong_FromSsize_t(offset);
}
