/* The inner loops of consent.words and consent.html.tokenizer, for CPython's stable ABI.
 *
 * Each has a Python counterpart that gives the same answers; the tests hold them against each other. Nothing
 * in here decides anything: it finds where to look.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* --- WordFinder: which known words stand in a text --- */

typedef struct {
    const char *text; /* borrowed from the tuple that the finder owns */
    uint32_t length;
    uint32_t hash;
    Py_ssize_t index; /* in that tuple */
} Word;

typedef struct {
    PyObject_HEAD
    PyObject *words; /* tuple of bytes */
    Word *table;     /* open addressing; text == NULL: free */
    uint32_t mask;
    uint64_t lengths[256]; /* by first byte: bit n is set where a word of n bytes begins so, 63: or longer */
} WordFinder;

static unsigned char word_byte[256];

static uint32_t hash_of(const unsigned char *text, size_t length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ text[i]) * 16777619u;
    return hash;
}

static uint64_t length_bit(size_t length)
{
    return (uint64_t)1 << (length < 63 ? length : 63);
}

static PyObject *word_finder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *given;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "WordFinder takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O", &given))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    WordFinder *self = (WordFinder *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->words = PySequence_Tuple(given);
    if (self->words == NULL)
        goto failed;
    Py_ssize_t count = PyTuple_Size(self->words);
    uint32_t slots = 16;
    while ((Py_ssize_t)slots < count * 4)
        slots *= 2;
    self->table = PyMem_Calloc(slots, sizeof(Word));
    if (self->table == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    self->mask = slots - 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        char *text;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(self->words, i), &text, &length) < 0)
            goto failed;
        if (length < 1 || length > 255) {
            PyErr_SetString(PyExc_ValueError, "a word has 1 to 255 bytes");
            goto failed;
        }
        for (Py_ssize_t j = 0; j < length; j++)
            if (!word_byte[(unsigned char)text[j]]) {
                PyErr_SetString(PyExc_ValueError, "a word has only ASCII letters, digits, _ and $");
                goto failed;
            }
        uint32_t hash = hash_of((const unsigned char *)text, (size_t)length);
        uint32_t slot = hash & self->mask;
        while (self->table[slot].text != NULL)
            slot = (slot + 1) & self->mask;
        self->table[slot].text = text;
        self->table[slot].length = (uint32_t)length;
        self->table[slot].hash = hash;
        self->table[slot].index = i;
        self->lengths[(unsigned char)text[0]] |= length_bit((size_t)length);
    }
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static void word_finder_dealloc(PyObject *object)
{
    WordFinder *self = (WordFinder *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->words);
    PyMem_Free(self->table);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *word_finder_find(PyObject *object, PyObject *argument)
{
    WordFinder *self = (WordFinder *)object;
    Py_buffer view;
    if (PyObject_GetBuffer(argument, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *found = PySet_New(NULL);
    unsigned char *seen = found ? PyMem_Calloc((size_t)self->mask + 1, 1) : NULL;
    if (seen == NULL) {
        if (found != NULL)
            PyErr_NoMemory();
        goto failed;
    }
    const unsigned char *text = view.buf, *end = text + view.len, *at = text;
    while (at < end) {
        if (!word_byte[*at]) {
            at++;
            continue;
        }
        const unsigned char *start = at;
        do
            at++;
        while (at < end && word_byte[*at]);
        size_t length = (size_t)(at - start);
        if (!(self->lengths[*start] & length_bit(length)))
            continue;
        uint32_t hash = hash_of(start, length);
        for (uint32_t slot = hash & self->mask; self->table[slot].text != NULL; slot = (slot + 1) & self->mask) {
            Word *word = &self->table[slot];
            if (word->hash == hash && word->length == length && memcmp(word->text, start, length) == 0) {
                if (!seen[slot] && PySet_Add(found, PyTuple_GetItem(self->words, word->index)) < 0)
                    goto failed;
                seen[slot] = 1;
                break;
            }
        }
    }
    PyMem_Free(seen);
    PyBuffer_Release(&view);
    return found;
failed:
    PyMem_Free(seen);
    Py_XDECREF(found);
    PyBuffer_Release(&view);
    return NULL;
}

static PyMethodDef word_finder_methods[] = {
    {"find", word_finder_find, METH_O, "Return the set of those words that stand in the text as whole words."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot word_finder_slots[] = {
    {Py_tp_new, word_finder_new},
    {Py_tp_dealloc, word_finder_dealloc},
    {Py_tp_methods, word_finder_methods},
    {Py_tp_doc, "WordFinder(words): finds whole words out of a set in a bytes-like object."},
    {0, NULL},
};

static PyType_Spec word_finder_spec = {
    .name = "consent._speedups.WordFinder",
    .basicsize = sizeof(WordFinder),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = word_finder_slots,
};

/* --- TagSkipper: the next tag on a page that needs a look (HTML Standard, 13.2.5.6 to 13.2.5.40) --- */

#define LONGEST_NAME 32

typedef struct {
    PyObject_HEAD
    PyObject *start_tags, *end_tags, *attributes; /* frozensets of bytes, for the names in the tables */
    uint32_t start_table[256], end_table[256];    /* by first byte: bit n is set where a name of n bytes begins so */
    uint32_t attribute_table[256];
    unsigned char event_handlers; /* whether on... counts */
} TagSkipper;

static unsigned char ends_name[256];  /* white space, "/", ">" */
static unsigned char ends_attribute[256]; /* the same and "=" */
static unsigned char is_space[256];
static unsigned char lower[256];
static unsigned char is_letter[256];

static int fill_table(PyObject *names, uint32_t *table)
{
    PyObject *iterator = PyObject_GetIter(names);
    if (iterator == NULL)
        return -1;
    PyObject *name;
    while ((name = PyIter_Next(iterator)) != NULL) {
        char *text;
        Py_ssize_t length;
        int wrong = PyBytes_AsStringAndSize(name, &text, &length) < 0;
        if (!wrong && (length < 1 || length >= LONGEST_NAME)) {
            PyErr_SetString(PyExc_ValueError, "a name has 1 to 31 bytes");
            wrong = 1;
        }
        if (!wrong) {
            table[(unsigned char)text[0]] |= (uint32_t)1 << length;
            if (is_letter[(unsigned char)text[0]])
                table[(unsigned char)text[0] ^ 0x20] |= (uint32_t)1 << length;
        }
        Py_DECREF(name);
        if (wrong) {
            Py_DECREF(iterator);
            return -1;
        }
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *tag_skipper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *start_tags, *end_tags, *attributes;
    int event_handlers;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "TagSkipper takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OOOp", &start_tags, &end_tags, &attributes, &event_handlers))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    TagSkipper *self = (TagSkipper *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->event_handlers = (unsigned char)event_handlers;
    self->start_tags = PyFrozenSet_New(start_tags);
    self->end_tags = self->start_tags ? PyFrozenSet_New(end_tags) : NULL;
    self->attributes = self->end_tags ? PyFrozenSet_New(attributes) : NULL;
    if (self->attributes == NULL || fill_table(self->start_tags, self->start_table) < 0 ||
        fill_table(self->end_tags, self->end_table) < 0 || fill_table(self->attributes, self->attribute_table) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void tag_skipper_dealloc(PyObject *object)
{
    TagSkipper *self = (TagSkipper *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->start_tags);
    Py_XDECREF(self->end_tags);
    Py_XDECREF(self->attributes);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* Whether the name is in the set: 1, 0, or -1 with an exception. The table answers nearly always. */
static int in_set(const unsigned char *name, size_t length, const uint32_t *table, PyObject *set)
{
    if (length >= LONGEST_NAME || !(table[*name] >> length & 1))
        return 0;
    char folded[LONGEST_NAME];
    for (size_t i = 0; i < length; i++)
        folded[i] = (char)lower[name[i]];
    PyObject *key = PyBytes_FromStringAndSize(folded, (Py_ssize_t)length);
    if (key == NULL)
        return -1;
    int found = PySet_Contains(set, key);
    Py_DECREF(key);
    return found;
}

enum { INCOMPLETE = 0, WATCHED = 1, PASSED = 2, FAILED = -1 };

/* From behind a start tag's name to behind its ">", which is stored in *after. */
static int rest_of_tag(TagSkipper *self, const unsigned char *at, const unsigned char *end, int watch,
                       const unsigned char **after)
{
    int watched = 0;
    for (;;) {
        while (at < end && (is_space[*at] || *at == '/'))
            at++;
        if (at == end)
            return INCOMPLETE;
        if (*at == '>') {
            *after = at + 1;
            return watched ? WATCHED : PASSED;
        }
        const unsigned char *name = at++; /* even a "=" begins a name here */
        while (at < end && !ends_attribute[*at])
            at++;
        if (watch && !watched) {
            if (self->event_handlers && at - name > 2 && lower[name[0]] == 'o' && lower[name[1]] == 'n')
                watched = 1;
            else {
                watched = in_set(name, (size_t)(at - name), self->attribute_table, self->attributes);
                if (watched < 0)
                    return FAILED;
            }
        }
        while (at < end && is_space[*at])
            at++;
        if (at == end)
            return INCOMPLETE;
        if (*at != '=')
            continue;
        at++;
        while (at < end && is_space[*at])
            at++;
        if (at == end)
            return INCOMPLETE;
        if (*at == '"' || *at == '\'') {
            at = memchr(at + 1, *at, (size_t)(end - at - 1));
            if (at == NULL)
                return INCOMPLETE;
            at++;
        } else
            while (at < end && !is_space[*at] && *at != '>')
                at++;
    }
}

static PyObject *tag_skipper_skip(PyObject *object, PyObject *args)
{
    TagSkipper *self = (TagSkipper *)object;
    Py_buffer view;
    Py_ssize_t position, limit;
    if (!PyArg_ParseTuple(args, "y*nn", &view, &position, &limit))
        return NULL;
    if (limit > view.len)
        limit = view.len;
    if (position < 0 || position > limit) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_IndexError, "the position is not within the page");
        return NULL;
    }
    const unsigned char *page = view.buf, *end = page + limit, *at = page + position;
    for (;;) {
        at = at < end ? memchr(at, '<', (size_t)(end - at)) : NULL;
        if (at == NULL) {
            at = end;
            break;
        }
        const unsigned char *tag = at;
        if (++at == end) {
            at = tag;
            break;
        }
        int closes = *at == '/';
        if (closes && ++at == end) {
            at = tag;
            break;
        }
        if (!is_letter[*at]) {
            if (closes || *at == '!' || *at == '?') {
                at = tag;
                break;
            }
            continue;
        }
        const unsigned char *name = at;
        while (at < end && !ends_name[*at])
            at++;
        int outcome = INCOMPLETE;
        if (at < end) {
            outcome = closes ? in_set(name, (size_t)(at - name), self->end_table, self->end_tags)
                             : in_set(name, (size_t)(at - name), self->start_table, self->start_tags);
            if (outcome == 0)
                outcome = rest_of_tag(self, at, end, !closes, &at);
        }
        if (outcome == FAILED) {
            PyBuffer_Release(&view);
            return NULL;
        }
        if (outcome != PASSED) {
            at = tag;
            break;
        }
    }
    PyBuffer_Release(&view);
    return PyLong_FromSsize_t((Py_ssize_t)(at - page));
}

static PyMethodDef tag_skipper_methods[] = {
    {"skip", tag_skipper_skip, METH_VARARGS,
     "skip(page, position, limit): return the offset of the next tag that needs a look, or is not complete."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot tag_skipper_slots[] = {
    {Py_tp_new, tag_skipper_new},
    {Py_tp_dealloc, tag_skipper_dealloc},
    {Py_tp_methods, tag_skipper_methods},
    {Py_tp_doc, "TagSkipper(start_tags, end_tags, attributes, event_handlers): passes text and tags of other names."},
    {0, NULL},
};

static PyType_Spec tag_skipper_spec = {
    .name = "consent._speedups.TagSkipper",
    .basicsize = sizeof(TagSkipper),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tag_skipper_slots,
};

/* --- the module --- */

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static int module_exec(PyObject *module)
{
    for (int c = 0; c < 256; c++) {
        is_letter[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        lower[c] = (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        is_space[c] = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == ' ';
        ends_name[c] = is_space[c] || c == '/' || c == '>';
        ends_attribute[c] = ends_name[c] || c == '=';
        word_byte[c] = is_letter[c] || (c >= '0' && c <= '9') || c == '_' || c == '$';
    }
    return add_type(module, &word_finder_spec) < 0 || add_type(module, &tag_skipper_spec) < 0 ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consent._speedups",
    .m_doc = "Inner loops; see the modules that use them.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__speedups(void)
{
    return PyModuleDef_Init(&module);
}
