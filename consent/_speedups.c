/* The inner loops of consent.words, consent.fields and consent.html.tokenizer, for CPython's stable ABI.
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

/* --- tags (HTML Standard, 13.2.5.6 to 13.2.5.40) --- */

static unsigned char ends_name[256];      /* white space, "/", ">" */
static unsigned char ends_attribute[256]; /* the same and "=" */
static unsigned char is_space[256];
static unsigned char is_letter[256];
static unsigned char lower[256];

typedef struct {
    const unsigned char *name, *name_end;
    const unsigned char *value, *value_end; /* NULL: the attribute has no value */
    const unsigned char *end;               /* behind the value and its closing quotation mark */
} Attribute;

enum { INCOMPLETE, ATTRIBUTE, END_OF_TAG };

/* Read one attribute, or the ">" of the tag, from *at on, and move *at behind it. */
static int next_attribute(const unsigned char **position, const unsigned char *end, Attribute *attribute)
{
    const unsigned char *at = *position;
    while (at < end && (is_space[*at] || *at == '/'))
        at++;
    if (at == end)
        return INCOMPLETE;
    if (*at == '>') {
        *position = at + 1;
        return END_OF_TAG;
    }
    attribute->name = at++; /* even a "=" begins a name here */
    while (at < end && !ends_attribute[*at])
        at++;
    attribute->name_end = attribute->end = at;
    attribute->value = attribute->value_end = NULL;
    while (at < end && is_space[*at])
        at++;
    if (at == end)
        return INCOMPLETE;
    if (*at == '=') {
        at++;
        while (at < end && is_space[*at])
            at++;
        if (at == end)
            return INCOMPLETE;
        if (*at == '"' || *at == '\'') {
            attribute->value = at + 1;
            at = memchr(at + 1, *at, (size_t)(end - at - 1));
            if (at == NULL)
                return INCOMPLETE;
            attribute->value_end = at++;
        } else if (*at != '>') {
            attribute->value = at;
            while (at < end && !is_space[*at] && *at != '>')
                at++;
            if (at == end)
                return INCOMPLETE;
            attribute->value_end = at;
        }
        attribute->end = at;
    }
    *position = at;
    return ATTRIBUTE;
}

static PyObject *folded(const unsigned char *text, size_t length)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (result != NULL) {
        char *target = PyBytes_AsString(result);
        for (size_t i = 0; i < length; i++)
            target[i] = (char)lower[text[i]];
    }
    return result;
}

/* --- TagSkipper: the next tag on a page that needs a look --- */

#define LONGEST_NAME 32

enum { ALWAYS = 1, LOADING = 2, CLOSING = 4 };          /* tags */
enum { ANY_VALUE = 1, STYLE_VALUE = 2, LOADED_URL = 4 }; /* attributes */

typedef struct {
    PyObject_HEAD
    PyObject *tags, *attributes; /* dicts of bytes to flags */
    uint32_t tag_lengths[256];   /* by first byte: bit n is set where a name of n bytes begins so */
    uint32_t attribute_lengths[256];
} TagSkipper;

static int fill_lengths(PyObject *names, uint32_t *lengths)
{
    PyObject *name, *flags;
    Py_ssize_t position = 0;
    while (PyDict_Next(names, &position, &name, &flags)) {
        char *text;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(name, &text, &length) < 0)
            return -1;
        if (length < 1 || length >= LONGEST_NAME || !PyLong_Check(flags)) {
            PyErr_SetString(PyExc_ValueError, "names have 1 to 31 bytes, and flags are integers");
            return -1;
        }
        unsigned char first = (unsigned char)text[0];
        lengths[first] |= (uint32_t)1 << length;
        if (is_letter[first])
            lengths[first ^ 0x20] |= (uint32_t)1 << length;
    }
    return 0;
}

static PyObject *tag_skipper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *tags, *attributes;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "TagSkipper takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!O!", &PyDict_Type, &tags, &PyDict_Type, &attributes))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    TagSkipper *self = (TagSkipper *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->tags = PyDict_Copy(tags);
    self->attributes = self->tags ? PyDict_Copy(attributes) : NULL;
    if (self->attributes == NULL || fill_lengths(self->tags, self->tag_lengths) < 0 ||
        fill_lengths(self->attributes, self->attribute_lengths) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void tag_skipper_dealloc(PyObject *object)
{
    TagSkipper *self = (TagSkipper *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->tags);
    Py_XDECREF(self->attributes);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* The flags of a name; 0 where it has none, -1 with an exception. The lengths answer nearly always. */
static long flags_of(const unsigned char *name, const unsigned char *end, const uint32_t *lengths, PyObject *names)
{
    size_t length = (size_t)(end - name);
    if (length >= LONGEST_NAME || !(lengths[*name] >> length & 1))
        return 0;
    PyObject *key = folded(name, length);
    if (key == NULL)
        return -1;
    PyObject *flags = PyDict_GetItemWithError(names, key); /* borrowed */
    Py_DECREF(key);
    if (flags == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return PyLong_AsLong(flags);
}

/* Whether a browser might take the value for an address on another host; wrong only towards yes. */
static int may_leave(const unsigned char *at, const unsigned char *end)
{
    for (; at < end; at++)
        switch (*at) {
        case '/':
            if (at + 1 < end && at[1] == '/')
                return 1;
            break;
        case '\\': case '&': case ':': case '\t': case '\n': case '\r':
            return 1;
        }
    return 0;
}

static int needs_look(long flags, long tag, const Attribute *attribute)
{
    const unsigned char *at = attribute->value, *end = attribute->value_end;
    if (flags & ANY_VALUE)
        return 1;
    if (flags & STYLE_VALUE)
        for (; at < end; at++)
            if (*at == '(' || *at == '\\' || *at == '&')
                return 1;
    return flags & LOADED_URL && tag & LOADING && may_leave(attribute->value, attribute->value_end);
}

/* Pass one tag from behind its name on. Returns 1 if it was passed, 0 if it needs a look, -1 with an exception. */
static int passes(TagSkipper *self, long tag, const unsigned char **position, const unsigned char *end)
{
    const unsigned char *at = *position;
    Attribute attribute;
    for (;;) {
        switch (next_attribute(&at, end, &attribute)) {
        case INCOMPLETE:
            return 0;
        case END_OF_TAG:
            *position = at;
            return 1;
        }
        if (tag & CLOSING)
            continue;
        const unsigned char *name = attribute.name;
        if (attribute.name_end - name > 2 && lower[name[0]] == 'o' && lower[name[1]] == 'n')
            return 0; /* an event handler */
        long flags = flags_of(name, attribute.name_end, self->attribute_lengths, self->attributes);
        if (flags < 0)
            return -1;
        if (flags && needs_look(flags, tag, &attribute))
            return 0;
    }
}

static PyObject *tag_skipper_skip(PyObject *object, PyObject *args)
{
    TagSkipper *self = (TagSkipper *)object;
    Py_buffer view;
    Py_ssize_t position, limit;
    if (!PyArg_ParseTuple(args, "y*nn", &view, &position, &limit))
        return NULL;
    if (position < 0 || position > limit || limit > view.len) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_IndexError, "the position is not within the page");
        return NULL;
    }
    const unsigned char *page = view.buf, *end = page + limit, *tag = page + position;
    for (;;) {
        tag = tag < end ? memchr(tag, '<', (size_t)(end - tag)) : NULL;
        if (tag == NULL) {
            tag = end;
            break;
        }
        const unsigned char *at = tag + 1;
        int closing = at < end && *at == '/';
        at += closing;
        if (at == end)
            break;
        if (!is_letter[*at]) {
            if (closing || *at == '!' || *at == '?')
                break;
            tag = at;
            continue;
        }
        const unsigned char *name = at;
        while (at < end && !ends_name[*at])
            at++;
        if (at == end)
            break;
        long flags = flags_of(name, at, self->tag_lengths, self->tags);
        int passed = flags < 0 ? -1 : flags & (closing ? CLOSING : ALWAYS) ? 0
                     : passes(self, closing ? CLOSING : flags & LOADING, &at, end);
        if (passed < 0) {
            PyBuffer_Release(&view);
            return NULL;
        }
        if (!passed)
            break;
        tag = at;
    }
    PyBuffer_Release(&view);
    return PyLong_FromSsize_t((Py_ssize_t)(tag - page));
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
    {Py_tp_doc, "TagSkipper(tags, attributes): passes text, and tags that need no look."},
    {0, NULL},
};

static PyType_Spec tag_skipper_spec = {
    .name = "consent._speedups.TagSkipper",
    .basicsize = sizeof(TagSkipper),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tag_skipper_slots,
};

/* --- start_tag: one start tag, taken apart --- */

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

static PyObject *start_tag(PyObject *module, PyObject *args)
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
    const unsigned char *page = view.buf, *end = page + view.len, *at = page + start + 1, *name_start = at;
    while (at < end && !ends_name[*at])
        at++;
    if (at == end || at == name_start || !is_letter[*name_start])
        goto incomplete;
    name = folded(name_start, (size_t)(at - name_start));
    found = name ? PyList_New(0) : NULL;
    if (found == NULL)
        goto done;
    Attribute attribute;
    const unsigned char *last = NULL;
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

/* --- find_tag: the next tag of one name, wherever it stands --- */

static PyObject *find_tag(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer view;
    Py_ssize_t position, length, found = -1;
    const char *name;
    if (!PyArg_ParseTuple(args, "y*ny#", &view, &position, &name, &length))
        return NULL;
    if (position < 0 || position > view.len) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_IndexError, "the position is not within the page");
        return NULL;
    }
    const unsigned char *page = view.buf, *end = page + view.len, *at = page + position;
    /* "<", the name, and the byte that ends it */
    while (end - at > length + 1 && (at = memchr(at, '<', (size_t)(end - at - length - 1))) != NULL) {
        Py_ssize_t same = 0;
        while (same < length && lower[at[1 + same]] == (unsigned char)name[same])
            same++;
        if (same == length && ends_name[at[1 + length]]) {
            found = at - page;
            break;
        }
        at++;
    }
    PyBuffer_Release(&view);
    return PyLong_FromSsize_t(found);
}

/* --- FieldFinder: the header fields that matter, out of all of a message --- */

typedef struct {
    PyObject_HEAD
    PyObject *names;       /* tuple of bytes, lower case */
    PyObject *comma;
    uint32_t lengths[256]; /* by first byte: bit n is set where a name of n bytes begins so */
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
        if (length < 1 || length >= LONGEST_NAME) {
            PyErr_SetString(PyExc_ValueError, "a name has 1 to 31 bytes");
            goto failed;
        }
        self->lengths[(unsigned char)text[0]] |= (uint32_t)1 << length;
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
    if (PyBytes_AsStringAndSize(name, &text, &length) < 0 || length < 1 || length >= LONGEST_NAME)
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

static PyType_Spec field_finder_spec = {
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

static PyObject *glance(PyObject *module, PyObject *args)
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

static PyMethodDef module_functions[] = {
    {"glance", glance, METH_VARARGS,
     "glance(headers, cookie_name, plain_codings): see consent.headers.glance."},
    {"find_tag", find_tag, METH_VARARGS,
     "find_tag(page, position, name): return where a tag begins; -1 where it is not there. \"/\" begins an end tag."},
    {"start_tag", start_tag, METH_VARARGS,
     "start_tag(page, start, Tag, Attribute): return the start tag at start; None where it is not complete."},
    {NULL, NULL, 0, NULL},
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
    return add_type(module, &word_finder_spec) < 0 || add_type(module, &tag_skipper_spec) < 0 ||
                   add_type(module, &field_finder_spec) < 0
               ? -1
               : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consent._speedups",
    .m_doc = "Inner loops; see the modules that use them.",
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__speedups(void)
{
    return PyModuleDef_Init(&module);
}
