/* PageScreen: passes all of a page that nobody has to be asked about, elements with their content.
 *
 * What it passes, the rewriter would leave as it is, and the judge would have nothing to do or note about, but
 * for URLs that are nobody's, or of vendors that are allowed, which are listed.
 */
#include "screen.h"

/* --- making one --- */

/* The number of an attribute, a new one if need be; 0 with an exception. */
static uint32_t number_of(PageScreen *self, const char *name, Py_ssize_t length)
{
    const Slot *slot = table_find(&self->attributes, (Bytes)name, (size_t)length);
    if (slot != NULL)
        return slot->value;
    if (self->numbers + 1 >= MOST_ATTRIBUTES) {
        PyErr_SetString(PyExc_ValueError, "these are too many attributes");
        return 0;
    }
    return table_add(&self->attributes, name, length, self->numbers + 1) < 0 ? 0 : ++self->numbers;
}

static int fill_readers(PageScreen *self, PyObject *pairs, unsigned char *readers)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(pairs); i++) {
        const char *name;
        Py_ssize_t length;
        int reader;
        if (!PyArg_ParseTuple(PyTuple_GetItem(pairs, i), "y#i", &name, &length, &reader))
            return -1;
        uint32_t number = number_of(self, name, length);
        if (number == 0)
            return -1;
        readers[number] = (unsigned char)reader;
    }
    return 0;
}

static int fill_names(Table *table, PyObject *names, uint32_t value)
{
    if (table->slots == NULL && table_prepare(table, PyTuple_Size(names)) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++) {
        char *name;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(names, i), &name, &length) < 0 ||
            table_add(table, name, length, value) < 0)
            return -1;
    }
    return 0;
}

static int fill_tag(PageScreen *self, PyObject *fields, uint32_t index)
{
    Tag *tag = &self->tags[index];
    const char *name, *gate;
    Py_ssize_t length, gate_length;
    int flags;
    PyObject *readers, *keywords;
    if (!PyArg_ParseTuple(fields, "y#iO!y#O!", &name, &length, &flags, &PyTuple_Type, &readers, &gate, &gate_length,
                          &PyTuple_Type, &keywords))
        return -1;
    if (length < 1 || length >= (Py_ssize_t)sizeof tag->name - 1) {
        PyErr_SetString(PyExc_ValueError, "the name of a tag has 1 to 31 bytes");
        return -1;
    }
    tag->name[0] = '/';
    memcpy(tag->name + 1, name, (size_t)length);
    tag->length = (size_t)length;
    tag->flags = (uint32_t)flags;
    if (gate_length && (tag->gate = number_of(self, gate, gate_length)) == 0)
        return -1;
    if (fill_names(&tag->keywords, keywords, 1) < 0 || fill_readers(self, readers, tag->readers) < 0)
        return -1;
    return table_add(&self->by_name, name, length, index);
}

static PyObject *page_screen_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *evidence, *rules, *tags, *anywhere, *code_types, *urls_types;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "PageScreen takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OOO!O!O!O!", &evidence, &rules, &PyTuple_Type, &tags, &PyTuple_Type, &anywhere,
                          &PyTuple_Type, &code_types, &PyTuple_Type, &urls_types) ||
        as_evidence(evidence) == NULL || as_url_rules(rules) == NULL)
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PageScreen *self = (PageScreen *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(evidence);
    Py_INCREF(rules);
    self->evidence = evidence;
    self->rules = rules;
    self->count = PyTuple_Size(tags);
    self->tags = PyMem_Calloc((size_t)self->count + 1, sizeof(Tag));
    if (self->tags == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    if (table_prepare(&self->by_name, self->count) < 0 || table_prepare(&self->attributes, MOST_ATTRIBUTES) < 0 ||
        table_prepare(&self->script_types, PyTuple_Size(code_types) + PyTuple_Size(urls_types)) < 0 ||
        fill_names(&self->script_types, code_types, CODE_TYPE) < 0 ||
        fill_names(&self->script_types, urls_types, URLS_TYPE) < 0 || fill_readers(self, anywhere, self->anywhere) < 0 ||
        (self->script_type = number_of(self, "type", 4)) == 0)
        goto failed;
    for (Py_ssize_t i = 0; i < self->count; i++)
        if (fill_tag(self, PyTuple_GetItem(tags, i), (uint32_t)i) < 0)
            goto failed;
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static void page_screen_dealloc(PyObject *object)
{
    PageScreen *self = (PageScreen *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (Py_ssize_t i = 0; self->tags && i < self->count; i++)
        table_free(&self->tags[i].keywords);
    PyMem_Free(self->tags);
    table_free(&self->by_name);
    table_free(&self->attributes);
    table_free(&self->script_types);
    Py_XDECREF(self->evidence);
    Py_XDECREF(self->rules);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* --- passing --- */

int is_page_screen(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return PyType_GetFlags(type) & Py_TPFLAGS_HEAPTYPE &&
           PyType_GetSlot(type, Py_tp_dealloc) == (void *)page_screen_dealloc;
}

Bytes screen_page(const Screening *screening, Bytes at, Bytes end, int reading)
{
    const PageScreen *self = (const PageScreen *)screening->screen;
    Pass pass;
    pass.page.settled = screening->settled;
    pass.page.unclassified = NULL;
    pass.page.rules = as_url_rules(self->rules);
    pass.page.allowed = screening->allowed;
    pass.page.vendors = screening->vendors;
    pass.page.at_home = reading & AT_HOME;
    pass.page.may_import = 0;
    pass.page.last_length = 0;
    pass.screen = self;
    pass.evidence = as_evidence(self->evidence);
    pass.unclassified = screening->unclassified;
    pass.longest = screening->longest;
    pass.reading = reading;
    pass.drawing = 0;
    return skip_markup(&pass, at, end);
}

static PyObject *page_screen_skip(PyObject *object, PyObject *args)
{
    Screening screening = {.screen = object};
    Py_buffer view;
    Py_ssize_t position;
    int reading;
    if (!PyArg_ParseTuple(args, "O!O!y#y*nni", &PySet_Type, &screening.settled, &PyList_Type, &screening.unclassified,
                          &screening.allowed, &screening.vendors, &view, &position, &screening.longest, &reading))
        return NULL;
    if (position < 0 || position > view.len) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_IndexError, "the position is not within the page");
        return NULL;
    }
    Bytes page = view.buf, reached = screen_page(&screening, page + position, page + view.len, reading);
    Py_ssize_t offset = reached ? (Py_ssize_t)(reached - page) : -1;
    PyBuffer_Release(&view);
    return reached ? PyLong_FromSsize_t(offset) : NULL;
}

static PyMethodDef page_screen_methods[] = {
    {"skip", page_screen_skip, METH_VARARGS,
     "skip(settled, unclassified, allowed, page, position, longest, reading): return the offset of the next place "
     "that needs a look, or is not complete."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot page_screen_slots[] = {
    {Py_tp_new, page_screen_new},
    {Py_tp_dealloc, page_screen_dealloc},
    {Py_tp_methods, page_screen_methods},
    {Py_tp_doc, "PageScreen(evidence, rules, tags, anywhere, code_types, urls_types): passes what nobody has to be asked about."},
    {0, NULL},
};

PyType_Spec page_screen_spec = {
    .name = "consent._speedups.PageScreen",
    .basicsize = sizeof(PageScreen),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = page_screen_slots,
};
