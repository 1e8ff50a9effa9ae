/* UrlRules: whose a URL is, by the catalog's rules; consent.catalog.matching decides alike. */
#include "native.h"

#define MOST_RULED 8 /* domains above a host, and itself, that rules are about */

typedef struct {
    const char *path; /* with "*" for any number of bytes */
    size_t length;
    int is_conditional; /* on parameters of the query, too */
    int32_t vendor;
} PathRule;

typedef struct {
    int32_t owner; /* of all that no path decides, or NOBODYS */
    uint32_t first, count; /* of the rules for paths */
} Host;

struct UrlRules {
    PyObject_HEAD
    PyObject *written; /* the tuple that holds the paths */
    Table by_name;
    Host *hosts;
    PathRule *paths;
    /* Of the rules for the paths of whatever host, what their last segments are; or how they begin, in a tuple. */
    Table segments;
    PyObject *beginnings;
};

/* --- making one --- */

static int fill_host(UrlRules *self, Py_ssize_t index, uint32_t *paths)
{
    const char *name;
    Py_ssize_t length;
    int owner;
    PyObject *rules;
    if (!PyArg_ParseTuple(PyTuple_GetItem(self->written, index), "y#iO!", &name, &length, &owner, &PyTuple_Type, &rules))
        return -1;
    Py_ssize_t count = PyTuple_Size(rules);
    PathRule *grown = PyMem_Realloc(self->paths, ((size_t)*paths + (size_t)count + 1) * sizeof(PathRule));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->paths = grown;
    self->hosts[index] = (Host){owner, *paths, (uint32_t)count};
    for (Py_ssize_t i = 0; i < count; i++) {
        PathRule *rule = &self->paths[(*paths)++];
        Py_ssize_t size;
        int vendor;
        if (!PyArg_ParseTuple(PyTuple_GetItem(rules, i), "y#pi", &rule->path, &size, &rule->is_conditional, &vendor))
            return -1;
        rule->length = (size_t)size;
        rule->vendor = vendor;
    }
    return table_add(&self->by_name, name, length, (uint32_t)index);
}

static int fill_segments(UrlRules *self, PyObject *segments)
{
    if (table_prepare(&self->segments, PyTuple_Size(segments)) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(segments); i++) {
        char *text;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(segments, i), &text, &length) < 0 ||
            table_add(&self->segments, text, length, 1) < 0)
            return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_Size(self->beginnings); i++)
        if (PyBytes_AsString(PyTuple_GetItem(self->beginnings, i)) == NULL)
            return -1;
    return 0;
}

static PyObject *url_rules_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *written, *segments, *beginnings;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "UrlRules takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!O!O!", &PyTuple_Type, &written, &PyTuple_Type, &segments, &PyTuple_Type, &beginnings))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    UrlRules *self = (UrlRules *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(written);
    Py_INCREF(beginnings);
    self->written = written;
    self->beginnings = beginnings;
    Py_ssize_t count = PyTuple_Size(written);
    uint32_t paths = 0;
    self->hosts = PyMem_Calloc((size_t)count + 1, sizeof(Host));
    if (self->hosts == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    if (table_prepare(&self->by_name, count) < 0 || fill_segments(self, segments) < 0)
        goto failed;
    for (Py_ssize_t i = 0; i < count; i++)
        if (fill_host(self, i, &paths) < 0)
            goto failed;
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static void url_rules_dealloc(PyObject *object)
{
    UrlRules *self = (UrlRules *)object;
    PyTypeObject *type = Py_TYPE(object);
    table_free(&self->by_name);
    table_free(&self->segments);
    PyMem_Free(self->hosts);
    PyMem_Free(self->paths);
    Py_XDECREF(self->written);
    Py_XDECREF(self->beginnings);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

UrlRules *as_url_rules(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (!(PyType_GetFlags(type) & Py_TPFLAGS_HEAPTYPE) ||
        PyType_GetSlot(type, Py_tp_dealloc) != (void *)url_rules_dealloc) {
        PyErr_SetString(PyExc_TypeError, "UrlRules are needed");
        return NULL;
    }
    return (UrlRules *)object;
}

/* --- looking up --- */

static Bytes found_in(Bytes at, Bytes end, const char *piece, size_t length)
{
    while ((size_t)(end - at) >= length) {
        at = memchr(at, piece[0], (size_t)(end - at) - length + 1);
        if (at == NULL || memcmp(at, piece, length) == 0)
            return at;
        at++;
    }
    return NULL;
}

/* Whether the whole path matches: as consent.catalog.matching.Glob does. */
static int path_matches(const PathRule *rule, Bytes at, Bytes end)
{
    const char *piece = rule->path, *pattern_end = piece + rule->length;
    for (int is_first = 1;; is_first = 0) {
        const char *star = memchr(piece, '*', (size_t)(pattern_end - piece));
        size_t length = (size_t)((star ? star : pattern_end) - piece), left = (size_t)(end - at);
        if (left < length)
            return 0;
        if (star == NULL)
            return is_first ? left == length && memcmp(at, piece, length) == 0
                            : memcmp(end - length, piece, length) == 0;
        if (is_first) {
            if (memcmp(at, piece, length) != 0)
                return 0;
        } else if (length && (at = found_in(at, end, piece, length)) == NULL) {
            return 0;
        }
        at += length;
        piece = star + 1;
    }
}

/* Where the path that begins the rest of a URL ends; NULL where it may be written in another way, too. */
static Bytes plain_path_end(Bytes at, Bytes end)
{
    for (Bytes start = at; at < end && *at != '?' && *at != '#'; at++)
        if (*at <= ' ' || *at >= 0x7F || *at == '%' || *at == '\\' || *at == '&' ||
            (*at == '.' && at > start && at[-1] == '/'))
            return NULL;
    return at;
}

int32_t url_owner(const UrlRules *self, Bytes host, size_t length, Bytes rest, Bytes end, int *by_path)
{
    const Host *ruled[MOST_RULED];
    uint32_t hash = HASH_START;
    int dots = 0, count = 0;
    *by_path = 0;
    if (length > 253) /* RFC 1035, section 2.3.4 */
        return NOBODYS;
    for (size_t at = length;; at--) {
        if (at == 0 || host[at - 1] == '.') {
            const Slot *slot = dots && at < length ? table_find_hashed(&self->by_name, host + at, length - at, hash) : NULL;
            if (slot && count == MOST_RULED)
                return UNCERTAIN;
            if (slot)
                ruled[count++] = &self->hosts[slot->value];
            dots++;
        }
        if (at == 0)
            break;
        hash = hash_step(hash, host[at - 1]);
    }
    for (int i = 0; i < count; i++)
        *by_path |= ruled[i]->count > 0;
    Bytes path = rest, path_end = rest;
    if (*by_path) {
        if (rest == end || *rest != '/')
            path = (Bytes)"/", path_end = path + 1;
        else if ((path_end = plain_path_end(rest, end)) == NULL)
            return UNCERTAIN;
    }
    for (int i = count; i-- > 0;) /* the nearest domain first */
        for (uint32_t j = 0; j < ruled[i]->count; j++) {
            const PathRule *rule = &self->paths[ruled[i]->first + j];
            if (path_matches(rule, path, path_end))
                return rule->is_conditional ? UNCERTAIN : rule->vendor;
        }
    for (int i = count; i-- > 0;)
        if (ruled[i]->owner >= 0)
            return ruled[i]->owner;
    return NOBODYS;
}

static int value_of_digit(unsigned char digit)
{
    return is_a(DIGIT, digit) ? digit - '0' : lower[digit] >= 'a' && lower[digit] <= 'f' ? lower[digit] - 'a' + 10 : -1;
}

/* Whether a byte is encoded that needed not to be. */
static int is_written_oddly(Bytes at, Bytes end)
{
    for (; (at = memchr(at, '%', (size_t)(end - at))) != NULL; at++)
        if (end - at > 2) {
            int high = value_of_digit(at[1]), low = value_of_digit(at[2]), byte = high * 16 + low;
            if (high >= 0 && low >= 0 && (is_a(HOST, (unsigned char)byte) || byte == '_' || byte == '~'))
                return 1;
        }
    return 0;
}

/* Whether the path may begin as one of the rules, once its dots are resolved. */
static int may_begin(PyObject *beginnings, Bytes path, Bytes end)
{
    if ((path < end && *path != '/') || is_written_oddly(path, end))
        return 1;
    for (Bytes at = path; at < end; at++)
        if (*at < ' ' || *at == '\\' || (*at == '.' && at > path && at[-1] == '/'))
            return 1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(beginnings); i++) {
        PyObject *beginning = PyTuple_GetItem(beginnings, i);
        size_t length = (size_t)PyBytes_Size(beginning);
        if ((size_t)(end - path) >= length && memcmp(path, PyBytes_AsString(beginning), length) == 0)
            return 1;
    }
    return 0;
}

int may_be_ruled(const UrlRules *self, Bytes rest, Bytes end)
{
    Bytes found = memchr(rest, '?', (size_t)(end - rest)), at = found ? found : end;
    found = memchr(rest, '#', (size_t)(at - rest));
    at = found ? found : at;
    if (memchr(rest, '&', (size_t)(at - rest)))
        return 1;
    int begins = PyTuple_Size(self->beginnings) && may_begin(self->beginnings, rest, at);
    /* Of most paths the last byte tells enough. */
    if (begins || at == rest || (at[-1] > ' ' && !self->segments.last[at[-1]] && !(at - rest > 2 && at[-3] == '%')))
        return begins;
    Bytes segment = at;
    for (; segment > rest && segment[-1] != '/'; segment--)
        if (segment[-1] < ' ' || segment[-1] == '\\')
            return 1;
    return table_find(&self->segments, segment, (size_t)(at - segment)) != NULL || is_written_oddly(segment, at);
}

static PyObject *url_rules_owner(PyObject *object, PyObject *args)
{
    const char *host, *rest;
    Py_ssize_t host_length, rest_length;
    if (!PyArg_ParseTuple(args, "y#y#", &host, &host_length, &rest, &rest_length))
        return NULL;
    int by_path;
    int32_t owner = url_owner((UrlRules *)object, (Bytes)host, (size_t)host_length, (Bytes)rest,
                              (Bytes)rest + rest_length, &by_path);
    return Py_BuildValue("(ii)", (int)owner, by_path);
}

static PyObject *url_rules_may_be_ruled(PyObject *object, PyObject *argument)
{
    char *rest;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &rest, &length) < 0)
        return NULL;
    return PyBool_FromLong(may_be_ruled((UrlRules *)object, (Bytes)rest, (Bytes)rest + length));
}

static PyMethodDef url_rules_methods[] = {
    {"owner", url_rules_owner, METH_VARARGS,
     "owner(host, rest): return the number of the vendor whose URL it is, -1 for nobody's, -2 where Python has to "
     "look; and whether paths matter."},
    {"may_be_ruled", url_rules_may_be_ruled, METH_O,
     "may_be_ruled(rest): return whether a rule for the paths of whatever host may be about a URL."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot url_rules_slots[] = {
    {Py_tp_new, url_rules_new},
    {Py_tp_dealloc, url_rules_dealloc},
    {Py_tp_methods, url_rules_methods},
    {Py_tp_doc, "UrlRules(hosts, segments, beginnings): whose a URL is; see consent.catalog.Catalog.url_rules."},
    {0, NULL},
};

PyType_Spec url_rules_spec = {
    .name = "consent._speedups.UrlRules",
    .basicsize = sizeof(UrlRules),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = url_rules_slots,
};
