/* The inner loops of consent.words and consent.html.tokenizer, for CPython's stable ABI.
 *
 * Each has a Python counterpart that gives the same answers; the tests hold them against each other. Nothing
 * in here decides anything: it finds where to look.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* --- WordFinder: where known words stand in a text --- */

typedef struct {
    const char *text; /* borrowed from the tuple that the finder owns */
    uint32_t length;
    uint32_t hash;
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
    PyObject *found = PyList_New(0);
    if (found == NULL) {
        PyBuffer_Release(&view);
        return NULL;
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
        uint32_t slot = hash & self->mask;
        for (; self->table[slot].text != NULL; slot = (slot + 1) & self->mask) {
            Word *word = &self->table[slot];
            if (word->hash == hash && word->length == length && memcmp(word->text, start, length) == 0) {
                PyObject *place = PyLong_FromSsize_t((Py_ssize_t)(start - text));
                if (place == NULL || PyList_Append(found, place) < 0) {
                    Py_XDECREF(place);
                    Py_DECREF(found);
                    PyBuffer_Release(&view);
                    return NULL;
                }
                Py_DECREF(place);
                break;
            }
        }
    }
    PyBuffer_Release(&view);
    return found;
}

static PyMethodDef word_finder_methods[] = {
    {"find", word_finder_find, METH_O, "Return the offsets at which a known word stands, as a whole word."},
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

/* --- the module --- */

static int module_exec(PyObject *module)
{
    for (int c = 0; c < 256; c++)
        word_byte[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
    PyObject *type = PyType_FromModuleAndSpec(module, &word_finder_spec, NULL);
    if (type == NULL)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
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
