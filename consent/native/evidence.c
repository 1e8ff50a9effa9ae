/* Evidence: the words of vendors' snippets and the hosts of their URLs, found in scripts in one pass each. */
#include "native.h"

/* A word is found by the bytes at an even place where it begins, or goes on with its second: by the one before, that one
 * and the next two. This says which four may be some; all that is in no word counts as a blank. */
#define FOURS_BITS 19

typedef struct {
    int are_known; /* or anything may follow */
    uint32_t bits[8];
} Followers;

struct Evidence {
    PyObject_HEAD
    PyObject *words; /* tuple of pairs of bytes: a word, and what may follow it and blanks */
    Table hosts;
    Table by_word;   /* to the index in the tuple */
    Followers *followers;
    uint64_t fours[(1 << FOURS_BITS) / 64];
};

/* The bytes before a place, at it and behind it; "from": before it there is nothing. */
static uint32_t four_at(Bytes from, Bytes place)
{
    return (place > from ? word_byte[place[-1]] : ' ') | (uint32_t)word_byte[place[0]] << 8 |
           (uint32_t)word_byte[place[1]] << 16 | (uint32_t)word_byte[place[2]] << 24;
}

static uint32_t number_of_four(uint32_t four)
{
    return four * 0x9E3779B1u >> (32 - FOURS_BITS);
}

static void mark(Evidence *self, Bytes four)
{
    uint32_t number = number_of_four(four_at(four, four + 1));
    self->fours[number / 64] |= (uint64_t)1 << number % 64;
}

static void mark_word(Evidence *self, Bytes word, size_t length)
{
    unsigned char around[5] = {' ', word[0], word[1], length > 2 ? word[2] : ' ', length > 3 ? word[3] : ' '};
    mark(self, around);
    for (int c = 0; length == 2 && c < 256; c++) {
        around[4] = (unsigned char)c;
        mark(self, around + 1);
    }
    mark(self, around + 1);
}

static int fill(Evidence *self, PyObject *hosts)
{
    Py_ssize_t hosts_count = PyTuple_Size(hosts), words_count = PyTuple_Size(self->words);
    char *text;
    Py_ssize_t length;
    if (table_prepare(&self->hosts, hosts_count) < 0 || table_prepare(&self->by_word, words_count) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < hosts_count; i++)
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(hosts, i), &text, &length) < 0 ||
            table_add(&self->hosts, text, length, 1) < 0)
            return -1;
    self->followers = PyMem_Calloc((size_t)words_count + 1, sizeof(Followers));
    if (self->followers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < words_count; i++) {
        const char *followers;
        Py_ssize_t count;
        if (!PyArg_ParseTuple(PyTuple_GetItem(self->words, i), "y#y#", &text, &length, &followers, &count))
            return -1;
        int plain = length > 1;
        for (Py_ssize_t j = 0; j < length; j++)
            plain = plain && is_a(WORD, (unsigned char)text[j]);
        if (!plain) {
            PyErr_SetString(PyExc_ValueError, "a word has two or more ASCII letters, digits, _ and $");
            return -1;
        }
        if (table_add(&self->by_word, text, length, (uint32_t)i) < 0)
            return -1;
        mark_word(self, (Bytes)text, (size_t)length);
        self->followers[i].are_known = count > 0;
        for (Py_ssize_t j = 0; j < count; j++) {
            unsigned char byte = (unsigned char)followers[j];
            self->followers[i].bits[byte / 32] |= (uint32_t)1 << byte % 32;
        }
    }
    return 0;
}

static PyObject *evidence_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *hosts, *words;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Evidence takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!O!", &PyTuple_Type, &hosts, &PyTuple_Type, &words))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Evidence *self = (Evidence *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(words);
    self->words = words;
    if (fill(self, hosts) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void evidence_dealloc(PyObject *object)
{
    Evidence *self = (Evidence *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->words);
    PyMem_Free(self->followers);
    table_free(&self->hosts);
    table_free(&self->by_word);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

Evidence *as_evidence(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (!(PyType_GetFlags(type) & Py_TPFLAGS_HEAPTYPE) ||
        PyType_GetSlot(type, Py_tp_dealloc) != (void *)evidence_dealloc) {
        PyErr_SetString(PyExc_TypeError, "an Evidence is needed");
        return NULL;
    }
    return (Evidence *)object;
}

/* Whether a rule is about the host, in lower case, or about a domain above it. */
static int knows_host(const Evidence *self, Bytes host, size_t length)
{
    uint32_t hash = HASH_START;
    int dots = 0;
    if (length > 253) /* RFC 1035, section 2.3.4 */
        return 0;
    for (size_t at = length; at-- > 0;) {
        if (host[at] == '.' && dots++ && table_find_hashed(&self->hosts, host + at + 1, length - at - 1, hash))
            return 1;
        hash = hash_step(hash, host[at]);
    }
    return dots && table_find_hashed(&self->hosts, host, length, hash) != NULL;
}

/* --- words --- */

/* Whether what comes behind the word may follow it. */
static int is_followed(const Followers *followers, Bytes at, Bytes end)
{
    if (!followers->are_known)
        return 1;
    while (at < end && (is_a(SPACE, *at) || *at == '\v'))
        at++;
    return at < end && followers->bits[*at / 32] >> *at % 32 & 1;
}

/* Look at the word that is at or begins within three bytes of "place", and not before "from". Returns where to go on,
 * an even number of bytes behind "text"; *slot is the entry of the word, or NULL. */
static Bytes word_at(const Evidence *self, Bytes text, Bytes from, Bytes place, Bytes end, const Slot **slot)
{
    Bytes start = place, stop;
    if (is_a(WORD, *place))
        while (start > from && is_a(WORD, start[-1]))
            start--;
    else
        while (start < end && start < place + 3 && !is_a(WORD, *start))
            start++;
    for (stop = start; stop < end && is_a(WORD, *stop);)
        stop++;
    *slot = table_find(&self->by_word, start, (size_t)(stop - start));
    if (*slot != NULL && !is_followed(&self->followers[(*slot)->value], stop, end))
        *slot = NULL;
    if (end - place <= 2 || stop == end)
        return end;
    stop += (stop - text) & 1;
    return stop > place + 2 ? stop : place + 2;
}

/* Go to the next known word from *at on, which is an even number of bytes behind "text"; NULL: there is none. */
static const Slot *next_word(const Evidence *self, Bytes text, Bytes *at, Bytes end)
{
    Bytes from = *at, place = *at;
    const Slot *slot;
    while (end - place > 3) {
        uint32_t four = four_at(from, place), number;
        while (number = number_of_four(four), !(self->fours[number / 64] >> number % 64 & 1)) {
            place += 2;
            if (end - place <= 3)
                break;
            four = four >> 16 | (uint32_t)word_byte[place[1]] << 16 | (uint32_t)word_byte[place[2]] << 24;
        }
        if (end - place <= 3)
            break;
        place = from = word_at(self, text, from, place, end, &slot);
        if (slot != NULL) {
            *at = place;
            return slot;
        }
    }
    while (place < end) { /* three bytes are not left, or no fourth that could end the word */
        place = from = word_at(self, text, from, place, end, &slot);
        if (slot != NULL) {
            *at = place;
            return slot;
        }
    }
    *at = end;
    return NULL;
}

/* --- URLs that a script loads straight away: s.src = "https://…" --- */

static Bytes before_blanks(Bytes start, Bytes at)
{
    while (at > start && (is_a(SPACE, at[-1]) || at[-1] == '\v'))
        at--;
    return at;
}

typedef struct { const char *text; size_t length; } Ending;
#define ENDING(text) {text, sizeof text - 1}

/* The length of the first of the words that the text from start to end ends with; 0: with none of them. */
static size_t ends_with_one(Bytes start, Bytes end, const Ending *words)
{
    for (; start < end && words->text != NULL; words++) {
        size_t length = words->length;
        if (end[-1] == (unsigned char)words->text[length - 1] && (size_t)(end - start) >= length &&
            memcmp(end - length, words->text, length) == 0)
            return length;
    }
    return 0;
}

#define LONGEST_COMMENT 200
#define MOST_COMMENTS 2

/* Go back over blanks and a few short comments, as tools write them: with "@vite-ignore", say. */
static Bytes before_gap(Bytes start, Bytes at)
{
    for (int count = 0; (at = before_blanks(start, at)) - start > 3 && at[-1] == '/' && at[-2] == '*'; count++) {
        Bytes within = at - 2;
        while (within > start && at - within < LONGEST_COMMENT + 2 && within[-1] != '*' && within[-1] != '/')
            within--;
        if (count == MOST_COMMENTS || within - start < 2 || within[-1] != '*' || within[-2] != '/')
            break;
        at = within - 2;
    }
    return at;
}

/* What loads the URL that it is called with. */
static const Ending loading_calls[] = {ENDING("fetch"), ENDING("sendBeacon"), ENDING("importScripts"), ENDING("import"),
                                       ENDING("EventSource"), ENDING("WebSocket"), ENDING("getScript"),
                                       ENDING("getJSON"), ENDING("axios.get"), ENDING("axios.post"), {NULL, 0}};
static const Ending loading_assigned[] = {ENDING("src"), {NULL, 0}};

/* Whether the script loads by a name: import(url), s.src = url. */
static int loads_named(Bytes text, Bytes end)
{
    for (Bytes at = text; end - at > 1; at++) {
        if (*at != '(' && *at != '=')
            continue;
        if (!ends_with_one(text, before_blanks(text, at), *at == '(' ? loading_calls : loading_assigned))
            continue;
        Bytes name = at + 1;
        for (int count = 0;; count++) {
            while (name < end && (is_a(SPACE, *name) || *name == '\v'))
                name++;
            if (count == MOST_COMMENTS || end - name < 4 || name[0] != '/' || name[1] != '*')
                break;
            Bytes within = name + 2;
            while (end - within > 1 && within - name < LONGEST_COMMENT + 2 && *within != '*' && *within != '/')
                within++;
            if (end - within < 2 || within[0] != '*' || within[1] != '/')
                break;
            name = within + 2;
        }
        if (name < end && is_a(WORD, *name))
            return 1;
    }
    return 0;
}

enum { NOT_LOADED, LOADED, NAMED };

/* Whether the string whose quotation mark is at "quote" is where scripts name what they load, or is given a name. */
static int is_loaded(Bytes text, Bytes quote)
{
    static const Ending arguments[] = {ENDING("document"), ENDING("window"), {NULL, 0}};
    static const Ending before[] = {ENDING("src"),  ENDING("script"), ENDING("GET"), ENDING("POST"),
                                    ENDING("get"), ENDING("post"),   {NULL, 0}};
    static const Ending bare[] = {ENDING("import"), ENDING("from"), {NULL, 0}};
    Bytes at = quote;
    if (at > text && at[-1] == '\\')
        at--;
    at = before_gap(text, at);
    if (at == text)
        return NOT_LOADED;
    switch (at[-1]) {
    case '=':
        at = before_blanks(text, at - 1);
        return ends_with_one(text, at, loading_assigned) ? LOADED : at > text && is_a(WORD, at[-1]) ? NAMED : NOT_LOADED;
    case '(':
        at = before_blanks(text, at - 1);
        if (ends_with_one(text, at, loading_calls))
            return LOADED;
        if (at > text && at[-1] == ')') /* a function that is called where it stands: (function () {…})("https://…") */
            at = before_blanks(text, at - 1);
        return at > text && at[-1] == '}';
    case ',':
        at = before_blanks(text, at - 1);
        if (at > text && (at[-1] == '"' || at[-1] == '\''))
            return ends_with_one(text, at - 1, before) != 0;
        return ends_with_one(text, at, arguments) != 0;
    }
    return ends_with_one(text, at, bare) != 0;
}

/* Whether the "//" whose first slash is at "slash" is that of a URL of a known host that the script loads, or NAMED. */
static int loads_known(const Evidence *self, Bytes text, Bytes slash, Bytes host, Bytes end)
{
    static const Ending schemes[] = {ENDING("https"), ENDING("http"), ENDING("wss"), ENDING("ws"), {NULL, 0}};
    Bytes at = slash;
    if (at > text && at[-1] == '\\')
        at--;
    if (at > text && at[-1] == ':') {
        size_t length = ends_with_one(text, --at, schemes);
        if (length == 0)
            return NOT_LOADED;
        at -= length;
    }
    if (at == text || (at[-1] != '"' && at[-1] != '\'' && at[-1] != '`'))
        return NOT_LOADED;
    int loaded = is_loaded(text, at - 1);
    if (loaded == NOT_LOADED)
        return NOT_LOADED;
    unsigned char name[253];
    size_t length = 0;
    while (host < end && length < sizeof name && is_a(HOST, *host))
        name[length++] = lower[*host++];
    while (length && name[length - 1] == '.')
        length--;
    return knows_host(self, name, length) ? loaded : NOT_LOADED;
}

/* Go to the host of the next URL that is known and loaded, from *at on; NULL: there is none.
 * In *by_name is whether the script loads by a name; -1: nobody has looked yet. */
static Bytes next_loaded(const Evidence *self, Bytes text, Bytes *position, Bytes end, int *by_name)
{
    Bytes at = *position;
    while (end - at > 2 && (at = memchr(at, '/', (size_t)(end - at - 2))) != NULL) {
        Bytes slash = at++, host = slash[1] == '/' ? slash + 2 : slash[1] == '\\' && slash[2] == '/' ? slash + 3 : NULL;
        int loaded = host != NULL ? loads_known(self, text, slash, host, end) : NOT_LOADED;
        if (loaded == NAMED && *by_name < 0)
            *by_name = loads_named(text, end);
        if (loaded == LOADED || (loaded == NAMED && *by_name)) {
            *position = host;
            return host;
        }
    }
    return NULL;
}

int clears_script(const Evidence *self, Bytes text, Bytes end)
{
    Bytes words = text, urls = text;
    int by_name = -1;
    return next_word(self, text, &words, end) == NULL && next_loaded(self, text, &urls, end, &by_name) == NULL;
}

/* --- methods --- */

static PyObject *evidence_knows(PyObject *object, PyObject *argument)
{
    char *host;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &host, &length) < 0)
        return NULL;
    return PyBool_FromLong(knows_host((Evidence *)object, (Bytes)host, (size_t)length));
}

static int add_word(const Evidence *self, PyObject *found, const Slot *slot)
{
    PyObject *pair = PyTuple_GetItem(self->words, (Py_ssize_t)slot->value);
    return PySet_Add(found, PyTuple_GetItem(pair, 0));
}

static int add_place(PyObject *places, Py_ssize_t offset)
{
    PyObject *place = PyLong_FromSsize_t(offset);
    int failed = place == NULL || PyList_Append(places, place) < 0;
    Py_XDECREF(place);
    return failed ? -1 : 0;
}

static PyObject *evidence_find(PyObject *object, PyObject *argument)
{
    Evidence *self = (Evidence *)object;
    char *script;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &script, &length) < 0)
        return NULL;
    Bytes text = (Bytes)script, end = text + length, at = text, host;
    PyObject *found = PySet_New(NULL), *places = PyList_New(0);
    if (found == NULL || places == NULL)
        goto failed;
    const Slot *slot, *last = NULL;
    int by_name = -1;
    for (; (slot = next_word(self, text, &at, end)) != NULL; last = slot)
        if (slot != last && add_word(self, found, slot) < 0)
            goto failed;
    for (at = text; (host = next_loaded(self, text, &at, end, &by_name)) != NULL;)
        if (add_place(places, (Py_ssize_t)(host - text)) < 0)
            goto failed;
    return Py_BuildValue("(NN)", found, places);
failed:
    Py_XDECREF(found);
    Py_XDECREF(places);
    return NULL;
}

static PyMethodDef evidence_methods[] = {
    {"knows", evidence_knows, METH_O, "Whether a rule is about the host, or about a domain above it."},
    {"find", evidence_find, METH_O,
     "Return the set of those words that stand in the script as whole words, and where the hosts of known URLs that "
     "it loads begin."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot evidence_slots[] = {
    {Py_tp_new, evidence_new},
    {Py_tp_dealloc, evidence_dealloc},
    {Py_tp_methods, evidence_methods},
    {Py_tp_doc, "Evidence(hosts, words): finds in scripts what tells of a vendor."},
    {0, NULL},
};

PyType_Spec evidence_spec = {
    .name = "consent._speedups.Evidence",
    .basicsize = sizeof(Evidence),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = evidence_slots,
};
