/* Requests that say nothing new are let in here, and so are responses let out that nothing is done about, pages for
 * visitors who refuse nothing, and pages in which nobody has to be asked about anything.
 *
 * Python is asked for the time, and whether a page is one of the few that it holds on to. Whatever else comes is handed to
 * it: to "look" the request, to what "respond" makes the message.
 */
#include "native.h"

/* --- Entrance: what is called for each request --- */

enum {
    TYPE, STATUS, HEADERS, PATH, ROOT_PATH, STATE, EXTENSIONS, CONSENT, HTTP, START, BODY, TRAILERS, NOWHERE,
    METHOD, GET, SCHEME, RAW_PATH, QUERY, CONTENT, MORE, ANNOUNCED, SEEN, WORDS
};
static const char *const spelt[WORDS] = {
    "type", "status", "headers", "path", "root_path", "state", "extensions", "consent", "http",
    "http.response.start", "http.response.body", "http.response.trailers", "",
    "method", "GET", "scheme", "raw_path", "query_string", "body", "more_body", "trailers", "seen",
};

typedef struct {
    PyObject_HEAD
    PyObject *app;           /* the site */
    PyObject *look;          /* called in its place where a request needs a closer look */
    PyObject *respond;       /* (scope, headers, ruling, send): makes what sends the messages of a response */
    PyObject *cookie_name;
    PyObject *plain_codings; /* set of bytes: values of Accept-Encoding that need no changes */
    PyObject *plain_types;   /* set of bytes: values of Content-Type that no page has */
    PyObject *roots;         /* set of str: values of root_path that need no look */
    PyObject *elsewhere;     /* tuple of bytes: what the paths begin with that others answer, or that need a look */
    PyObject *bypasses;      /* tuple of str: extensions that apps are not to see */
    PyObject *fields;        /* FieldFinder: of a response */
    PyObject *silence;       /* what is known of who says nothing: a tuple of when that begins and ends to hold, in
                              * seconds since 1970, of the ruling, of the decision that the app is shown, and of the
                              * editions of pages that nothing is refused in: see EDITION_FIELDS; None without */
    PyObject *chosen;        /* dict: such tuples by the line with the choice */
    PyObject *clock;
    PyObject *page_types;    /* set of bytes: values of Content-Type of pages in UTF-8 */
    PyObject *plain_names;   /* set of bytes: names of fields of pages that stay as they are */
    PyObject *inventory;     /* its attribute "seen" is compared with that of an edition */
    PyObject *nothing;       /* (): what is awaited where nothing is sent */
    PyObject *in_turn;       /* (send, first, second): what sends two messages is awaited */
    PyObject *way_out;       /* the type */
    PyObject *words[WORDS];
    PyObject *met[WORDS];    /* likewise, as they were met last: those of an app are mostly the same object */
    PyObject *plain_coding;  /* of plain_codings, the one met last */
    PyObject *plain_type;    /* of plain_types, the one met last */
    PyObject *page_type;     /* of page_types, the one met last */
    PyObject *unspoken;      /* the empty Accept-Language */
    PyObject *success;       /* the status 200 */
    int in_doubt;            /* so many pages are not screened here: those before could not be cleared, and Python had to
                              * read them all the same */
    int doubts;              /* so many they were after the last that could not */
} Entrance;

#define MEMBERS(self)                                                                                              \
    {                                                                                                              \
        &(self)->app, &(self)->look, &(self)->respond, &(self)->cookie_name, &(self)->plain_codings,               \
            &(self)->plain_types, &(self)->roots, &(self)->elsewhere, &(self)->bypasses, &(self)->fields,          \
            &(self)->silence, &(self)->chosen, &(self)->clock, &(self)->page_types, &(self)->plain_names,           \
            &(self)->inventory, &(self)->nothing, &(self)->in_turn, &(self)->way_out, &(self)->plain_coding,        \
            &(self)->plain_type, &(self)->page_type, &(self)->unspoken, &(self)->success                           \
    }

static int entrance_traverse(PyObject *object, visitproc visit, void *arg)
{
    Entrance *self = (Entrance *)object;
    PyObject **const members[] = MEMBERS(self);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        Py_VISIT(*members[i]);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static int entrance_clear(PyObject *object)
{
    Entrance *self = (Entrance *)object;
    PyObject **const members[] = MEMBERS(self);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        Py_CLEAR(*members[i]);
    for (size_t i = 0; i < WORDS; i++) {
        Py_CLEAR(self->words[i]);
        Py_CLEAR(self->met[i]);
    }
    return 0;
}

static void release(PyObject *object, inquiry clear)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static void entrance_dealloc(PyObject *object)
{
    release(object, entrance_clear);
}

static PyObject *entrance_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"app",      "look",     "respond", "cookie_name", "plain_codings", "plain_types", "roots",
                            "elsewhere", "bypasses", "fields", "silence",     "chosen",        "clock",       "page_types",
                            "plain_names", "inventory", "nothing", "in_turn", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Entrance *self = (Entrance *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOSO!O!O!O!O!OO!O!OO!O!OOO:Entrance", names, &self->app, &self->look,
                                     &self->respond, &self->cookie_name, &PySet_Type, &self->plain_codings, &PySet_Type,
                                     &self->plain_types, &PySet_Type, &self->roots, &PyTuple_Type, &self->elsewhere,
                                     &PyTuple_Type, &self->bypasses, &self->fields, &PyTuple_Type, &self->silence,
                                     &PyDict_Type, &self->chosen, &self->clock, &PySet_Type, &self->page_types,
                                     &PySet_Type, &self->plain_names, &self->inventory, &self->nothing,
                                     &self->in_turn)) {
        /* What was parsed is borrowed. */
        PyObject **const members[] = MEMBERS(self);
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            *members[i] = NULL;
        Py_DECREF(self);
        return NULL;
    }
    PyObject **const members[] = MEMBERS(self);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        Py_XINCREF(*members[i]);
    PyObject *module = PyType_GetModule(type); /* borrowed */
    PyObject *finder = module ? PyObject_GetAttrString(module, "FieldFinder") : NULL;
    int finds = finder ? PyObject_IsInstance(self->fields, finder) : -1;
    Py_XDECREF(finder);
    for (Py_ssize_t i = 0; finds > 0 && i < Py_SIZE(self->elsewhere); i++)
        if (PyBytes_AsString(PyTuple_GetItem(self->elsewhere, i)) == NULL)
            finds = -1;
    if (finds > 0 && PyBytes_Size(self->cookie_name) < 1) {
        PyErr_SetString(PyExc_ValueError, "the cookie has no name");
        finds = -1;
    }
    if (finds == 0)
        PyErr_SetString(PyExc_TypeError, "fields is no FieldFinder");
    if (finds < 1 || (self->way_out = PyObject_GetAttrString(module, "WayOut")) == NULL)
        goto failed;
    if ((self->success = PyLong_FromLong(200)) == NULL || (self->unspoken = PyBytes_FromString("")) == NULL)
        goto failed;
    for (size_t i = 0; i < WORDS; i++)
        if ((self->words[i] = PyUnicode_InternFromString(spelt[i])) == NULL)
            goto failed;
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static int is_word_of(Entrance *self, PyObject *text, int word)
{
    if (text == self->words[word] || (text == self->met[word] && text != NULL))
        return 1;
    if (text == NULL || !PyUnicode_CheckExact(text))
        return 0;
    PyObject *same = PyUnicode_RichCompare(text, self->words[word], Py_EQ);
    Py_XDECREF(same); /* one of the two that stay */
    if (same != Py_True)
        return 0;
    Py_INCREF(text);
    Py_XDECREF(self->met[word]);
    self->met[word] = text;
    return 1;
}

/* Whether nothing has to be done about the extensions. */
static int extends_nothing(Entrance *self, PyObject *extensions)
{
    if (extensions == NULL || extensions == Py_None)
        return 1;
    if (!PyDict_CheckExact(extensions))
        return 0;
    if (PyDict_Size(extensions) == 0)
        return 1;
    for (Py_ssize_t i = 0; i < Py_SIZE(self->bypasses); i++)
        if (PyDict_Contains(extensions, PyTuple_GetItem(self->bypasses, i)) != 0)
            return 0;
    return 1;
}

/* Whether the site answers the path, and it is where the middleware's own paths lead to the middleware. */
static int is_plain_path(Entrance *self, PyObject *scope)
{
    PyObject *path = PyDict_GetItemWithError(scope, self->words[PATH]);
    Py_ssize_t length;
    const char *text = path && PyUnicode_CheckExact(path) ? PyUnicode_AsUTF8AndSize(path, &length) : NULL;
    if (text == NULL)
        return 0;
    for (Py_ssize_t i = 0; i < Py_SIZE(self->elsewhere); i++) {
        PyObject *folder = PyTuple_GetItem(self->elsewhere, i);
        if (length >= Py_SIZE(folder) && memcmp(text, PyBytes_AsString(folder), (size_t)Py_SIZE(folder)) == 0)
            return 0;
    }
    PyObject *root = PyDict_GetItemWithError(scope, self->words[ROOT_PATH]);
    return root == NULL || root == self->words[NOWHERE] || PySet_Contains(self->roots, root) == 1;
}

/* Whether what is known holds at this time; -1 with an exception. */
static int holds_now(Entrance *self, PyObject *known)
{
    PyObject *now = PyObject_CallNoArgs(self->clock);
    if (now == NULL)
        return -1;
    double time = PyFloat_AsDouble(now);
    double begins = PyFloat_AsDouble(PyTuple_GetItem(known, 0)), ends = PyFloat_AsDouble(PyTuple_GetItem(known, 1));
    Py_DECREF(now);
    return PyErr_Occurred() ? -1 : begins <= time && time < ends;
}

/* What is known of the visitor: a new reference to a tuple. NULL where a closer look is needed. */
static PyObject *find_known(Entrance *self, PyObject *headers)
{
    PyObject *line, *known = NULL; /* borrowed */
    int seen = glance_at(headers, self->cookie_name, self->plain_codings, &self->plain_coding, &line);
    if (seen == 0)
        known = self->silence;
    else if (seen == SEEN_CHOICE && line != NULL)
        known = PyDict_GetItemWithError(self->chosen, line);
    if (known == NULL || !PyTuple_Check(known) || Py_SIZE(known) != 5)
        return NULL;
    Py_INCREF(known); /* whatever the clock does */
    if (seen == 0 || holds_now(self, known) == 1)
        return known;
    Py_DECREF(known);
    return NULL;
}

/* The scope as the app is to see it: a copy with the decision in its state. */
static PyObject *inner_scope(Entrance *self, PyObject *scope, PyObject *decision)
{
    PyObject *inner = PyDict_Copy(scope);
    if (inner == NULL)
        return NULL;
    PyObject *state = PyDict_GetItemWithError(inner, self->words[STATE]); /* borrowed */
    int failed;
    if (state == NULL) {
        failed = PyErr_Occurred() || (state = PyDict_New()) == NULL;
        if (!failed) {
            failed = PyDict_SetItem(state, self->words[CONSENT], decision) < 0 ||
                     PyDict_SetItem(inner, self->words[STATE], state) < 0;
            Py_DECREF(state);
        }
    } else if (PyDict_CheckExact(state)) {
        failed = PyDict_SetItem(state, self->words[CONSENT], decision) < 0;
    } else {
        failed = PyObject_SetItem(state, self->words[CONSENT], decision) < 0;
    }
    if (failed) {
        Py_DECREF(inner);
        return NULL;
    }
    return inner;
}

static PyObject *way_out(Entrance *self, PyObject *scope, PyObject *headers, PyObject *known, PyObject *send);

static PyObject *enter(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Entrance *self = (Entrance *)object;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "an ASGI app is called with scope, receive and send");
        return NULL;
    }
    PyObject *scope = args[0], *receive = args[1], *send = args[2], *headers, *known;
    if (PyDict_CheckExact(scope) && is_word_of(self, PyDict_GetItemWithError(scope, self->words[TYPE]), HTTP) &&
        (headers = PyDict_GetItemWithError(scope, self->words[HEADERS])) != NULL && PyList_CheckExact(headers) &&
        is_plain_path(self, scope) &&
        extends_nothing(self, PyDict_GetItemWithError(scope, self->words[EXTENSIONS])) &&
        (known = find_known(self, headers)) != NULL) {
        Py_INCREF(headers);
        PyObject *answer = NULL, *inner = inner_scope(self, scope, PyTuple_GetItem(known, 3));
        PyObject *out = inner ? way_out(self, scope, headers, known, send) : NULL;
        if (out != NULL)
            answer = PyObject_CallFunctionObjArgs(self->app, inner, receive, out, NULL);
        Py_XDECREF(out);
        Py_XDECREF(inner);
        Py_DECREF(headers);
        Py_DECREF(known);
        return answer;
    }
    /* What is wrong with the request is found again, and told, in Python. */
    PyErr_Clear();
    return PyObject_CallFunctionObjArgs(self->look, scope, receive, send, NULL);
}

static PyMethodDef entrance_methods[] = {
    {"enter", (PyCFunction)(void (*)(void))enter, METH_FASTCALL, "The ASGI app."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot entrance_slots[] = {
    {Py_tp_new, entrance_new},
    {Py_tp_dealloc, entrance_dealloc},
    {Py_tp_traverse, entrance_traverse},
    {Py_tp_clear, entrance_clear},
    {Py_tp_methods, entrance_methods},
    {Py_tp_doc, "Lets requests in; see consent.entrance."},
    {0, NULL},
};

PyType_Spec entrance_spec = {
    .name = "consent._speedups.Entrance",
    .basicsize = sizeof(Entrance),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = entrance_slots,
};

/* --- WayOut: the "send" that the app is called with --- */

typedef struct {
    PyObject_HEAD
    Entrance *entrance;
    PyObject *scope, *headers; /* of the request */
    PyObject *known;           /* of the visitor */
    PyObject *send;            /* the server's */
    PyObject *deliver;         /* Python's; NULL as long as nothing had to be done */
    PyObject *start;           /* of a page, withheld until its body is there: ours alone; or NULL */
    PyObject *edition;         /* ... and what such pages have in common */
    int ended;                 /* a page has been sent to its end */
} WayOut;

static PyObject *way_out(Entrance *entrance, PyObject *scope, PyObject *headers, PyObject *known, PyObject *send)
{
    PyTypeObject *type = (PyTypeObject *)entrance->way_out;
    WayOut *self = (WayOut *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    self->entrance = entrance;
    Py_INCREF((PyObject *)entrance);
    Py_INCREF(self->scope = scope);
    Py_INCREF(self->headers = headers);
    Py_INCREF(self->known = known);
    Py_INCREF(self->send = send);
    return (PyObject *)self;
}

static int way_out_traverse(PyObject *object, visitproc visit, void *arg)
{
    WayOut *self = (WayOut *)object;
    Py_VISIT(self->entrance);
    Py_VISIT(self->scope);
    Py_VISIT(self->headers);
    Py_VISIT(self->known);
    Py_VISIT(self->send);
    Py_VISIT(self->deliver);
    Py_VISIT(self->start);
    Py_VISIT(self->edition);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static int way_out_clear(PyObject *object)
{
    WayOut *self = (WayOut *)object;
    Py_CLEAR(self->entrance);
    Py_CLEAR(self->scope);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->known);
    Py_CLEAR(self->send);
    Py_CLEAR(self->deliver);
    Py_CLEAR(self->start);
    Py_CLEAR(self->edition);
    return 0;
}

static void way_out_dealloc(PyObject *object)
{
    release(object, way_out_clear);
}

/* Whether a response begins that nothing is done about: no page, no redirect, and no field that may be a tracker's. */
static int is_plain_start(Entrance *entrance, PyObject *message)
{
    PyObject *status = PyDict_GetItemWithError(message, entrance->words[STATUS]); /* borrowed */
    if (status != entrance->success) {
        long code = status != NULL && PyLong_Check(status) ? PyLong_AsLong(status) : 0;
        if (code < 200 || (code >= 300 && code < 400))
            return 0;
    }
    PyObject *headers = PyDict_GetItemWithError(message, entrance->words[HEADERS]), *value; /* borrowed */
    if (headers == NULL || !PyList_CheckExact(headers))
        return 0;
    int plain = only_field(entrance->fields, headers, "content-type", &value) == 1 && PyBytes_CheckExact(value) &&
                is_member(entrance->plain_types, value, &entrance->plain_type) == 1;
    Py_XDECREF(value);
    return plain;
}

/* --- ... and pages that nothing is refused in, or that are cleared as a whole --- */

/* What an edition is a tuple of: see consent.site.Edition. Where nothing is refused, and only there, EDITION_UNREAD has
 * something. */
enum { EDITION_FIELDS, EDITION_LAST, EDITION_UNREAD, EDITION_SEEN, EDITION_READ, EDITION_SIZE };
/* How its pages are read, where something is refused: see consent.site.Clearing; None: in Python alone. */
enum { READ_SCREEN, READ_NOBODY, READ_FIRST, READ_RUNNING, READ_HARMLESS, READ_MARK, READ_DUE, READ_SIZE };
#define LONGEST_ELEMENT (4 * 1024 * 1024) /* that is read as a whole, as in consent.html.rewriter */
#define MOST_DOUBTS 31

/* Whether a request is one whose page may be cleared here. */
static int may_be_cleared(PyObject *read, PyObject *headers, int asks)
{
    return PyTuple_Check(read) && Py_SIZE(read) == READ_SIZE && is_page_screen(PyTuple_GetItem(read, READ_SCREEN)) &&
           PyBytes_Check(PyTuple_GetItem(read, READ_NOBODY)) && PyBytes_Check(PyTuple_GetItem(read, READ_FIRST)) &&
           (PyTuple_GetItem(read, READ_RUNNING) == Py_None ||
            (asks & SAYS_SO && PyBytes_Check(PyTuple_GetItem(read, READ_RUNNING)))) &&
           PyAnySet_Check(PyTuple_GetItem(read, READ_HARMLESS)) &&
           PyBytes_Check(PyTuple_GetItem(read, READ_MARK)) &&
           has_only_cookies(headers, PyTuple_GetItem(read, READ_HARMLESS), PyTuple_GetItem(read, READ_MARK));
}

/* Whether pages of an edition are sent as they are, with what is put in. */
static int is_unread(PyObject *edition)
{
    PyObject *pieces = PyTuple_GetItem(edition, EDITION_UNREAD);
    return PyTuple_Check(pieces) && Py_SIZE(pieces) > 0;
}

/* The edition that a page is of whose start is the message, borrowed; NULL where Python has to look. */
static PyObject *edition_of(WayOut *self, PyObject *message)
{
    Entrance *entrance = self->entrance;
    PyObject *pages = PyTuple_GetItem(self->known, 4), *headers, *scheme, *language; /* borrowed */
    int asks;
    if (!PyDict_CheckExact(pages) ||
        PyDict_GetItemWithError(message, entrance->words[STATUS]) != entrance->success ||
        PyDict_Contains(message, entrance->words[ANNOUNCED]) != 0 ||
        !is_word_of(entrance, PyDict_GetItemWithError(self->scope, entrance->words[METHOD]), GET) ||
        (scheme = PyDict_GetItemWithError(self->scope, entrance->words[SCHEME])) == NULL ||
        (headers = PyDict_GetItemWithError(message, entrance->words[HEADERS])) == NULL ||
        !PyList_CheckExact(headers) ||
        !is_unread_page(headers, entrance->page_types, &entrance->page_type, entrance->plain_names) ||
        !(asks = asks_for_page(self->headers, &language)))
        return NULL;
    PyObject *editions = PyDict_GetItemWithError(pages, scheme);
    if (editions == NULL || !PyDict_CheckExact(editions))
        return NULL;
    PyObject *edition = PyDict_GetItemWithError(editions, language ? language : entrance->unspoken);
    if (edition == NULL || !PyTuple_Check(edition) || Py_SIZE(edition) != EDITION_SIZE)
        return NULL;
    if (is_unread(edition))
        return edition;
    if (entrance->in_doubt > 0) {
        entrance->in_doubt--;
        return NULL;
    }
    return may_be_cleared(PyTuple_GetItem(edition, EDITION_READ), self->headers, asks) ? edition : NULL;
}

/* Keep the start of a page as it is now: the app may use message and list for something else before the body is there. */
static int withhold(WayOut *self, PyObject *message)
{
    PyObject *name = self->entrance->words[HEADERS], *headers = PyDict_GetItemWithError(message, name); /* borrowed */
    PyObject *start = PyDict_Copy(message), *fields = PyList_GetSlice(headers, 0, Py_SIZE(headers));
    int kept = start != NULL && fields != NULL && PyDict_SetItem(start, name, fields) == 0;
    Py_XDECREF(fields);
    if (kept)
        self->start = start;
    else
        Py_XDECREF(start);
    return kept ? 0 : -1;
}

/* Whether the edition is still the one that is to be sent. */
static int is_current(WayOut *self)
{
    PyObject *seen = PyObject_GetAttr(self->entrance->inventory, self->entrance->words[SEEN]);
    Py_XDECREF(seen); /* compared, not used */
    return seen != NULL && seen == PyTuple_GetItem(self->edition, EDITION_SEEN);
}

/* Whether the page is one of the few that Python holds on to, for the inline scripts in them; or an exception was raised. */
static int is_picked(PyObject *due)
{
    if (due == Py_None)
        return 0;
    PyObject *answer = PyObject_CallNoArgs(due);
    Py_XDECREF(answer); /* one of the two that stay */
    return answer != Py_False;
}

/* The page as the screen clears it, with what is put in; NULL where Python has to look. */
static PyObject *screened_page(WayOut *self, PyObject *body, PyObject *address)
{
    Entrance *entrance = self->entrance;
    PyObject *read = PyTuple_GetItem(self->edition, EDITION_READ), *nobody = PyTuple_GetItem(read, READ_NOBODY);
    if (is_picked(PyTuple_GetItem(read, READ_DUE)))
        return NULL;
    PyObject *settled = own_host(self->headers), *unclassified = settled ? PyList_New(0) : NULL, *page = NULL;
    if (unclassified != NULL) {
        Screening screening = {PyTuple_GetItem(read, READ_SCREEN), settled,         unclassified,
                               PyBytes_AsString(nobody),           Py_SIZE(nobody), LONGEST_ELEMENT};
        page = cleared_page(body, &screening, PyTuple_GetItem(read, READ_FIRST), PyTuple_GetItem(read, READ_RUNNING),
                            PyTuple_GetItem(self->edition, EDITION_LAST), address);
        entrance->doubts = page ? 0 : entrance->doubts * 2 + 1 < MOST_DOUBTS ? entrance->doubts * 2 + 1 : MOST_DOUBTS;
        entrance->in_doubt = entrance->doubts;
    }
    Py_XDECREF(settled);
    Py_XDECREF(unclassified);
    return page;
}

/* The body of the page, whole and with what is put into it; NULL where Python has to look. */
static PyObject *whole_page(WayOut *self, PyObject *message)
{
    Entrance *entrance = self->entrance;
    PyObject *more = PyDict_GetItemWithError(message, entrance->words[MORE]); /* borrowed */
    PyObject *body = PyDict_GetItemWithError(message, entrance->words[CONTENT]);
    if ((more != NULL && more != Py_False) || body == NULL || !PyBytes_CheckExact(body) || !is_current(self))
        return NULL;
    PyObject *address = escaped_address(PyDict_GetItemWithError(self->scope, entrance->words[PATH]),
                                        PyDict_GetItemWithError(self->scope, entrance->words[RAW_PATH]),
                                        PyDict_GetItemWithError(self->scope, entrance->words[QUERY]));
    if (address == NULL)
        return NULL;
    PyObject *page = is_unread(self->edition)
                         ? with_insertion(body, PyTuple_GetItem(self->edition, EDITION_UNREAD), address)
                         : screened_page(self, body, address);
    Py_DECREF(address);
    return page;
}

/* Send the page with its start. */
static PyObject *send_page(WayOut *self, PyObject *message, PyObject *page)
{
    Entrance *entrance = self->entrance;
    PyObject *headers = page_fields(PyDict_GetItemWithError(self->start, entrance->words[HEADERS]),
                                    PyTuple_GetItem(self->edition, EDITION_FIELDS), Py_SIZE(page));
    PyObject *body = headers ? PyDict_Copy(message) : NULL, *sending = NULL;
    if (body != NULL && PyDict_SetItem(self->start, entrance->words[HEADERS], headers) == 0 &&
        PyDict_SetItem(body, entrance->words[CONTENT], page) == 0)
        sending = PyObject_CallFunctionObjArgs(entrance->in_turn, self->send, self->start, body, NULL);
    Py_XDECREF(body);
    Py_XDECREF(headers);
    Py_CLEAR(self->start);
    self->ended = 1;
    return sending;
}

/* Let Python send the message and all that follow, after the start that is withheld. */
static PyObject *hand_over(WayOut *self, PyObject *message)
{
    Entrance *entrance = self->entrance;
    PyObject *response = PyObject_CallFunctionObjArgs(entrance->respond, self->scope, self->headers,
                                                      PyTuple_GetItem(self->known, 2), self->send, NULL);
    if (response == NULL)
        return NULL;
    self->deliver = PyObject_GetAttrString(response, "send");
    Py_DECREF(response);
    if (self->deliver == NULL)
        return NULL;
    if (self->start == NULL)
        return PyObject_CallFunctionObjArgs(self->deliver, message, NULL);
    PyObject *sending = PyObject_CallFunctionObjArgs(entrance->in_turn, self->deliver, self->start, message, NULL);
    Py_CLEAR(self->start);
    return sending;
}

static PyObject *way_out_call(PyObject *object, PyObject *args, PyObject *kwargs)
{
    WayOut *self = (WayOut *)object;
    Entrance *entrance = self->entrance;
    if (Py_SIZE(args) != 1 || (kwargs != NULL && PyDict_Size(kwargs) > 0) || entrance == NULL) {
        PyErr_SetString(PyExc_TypeError, "an ASGI app sends one message");
        return NULL;
    }
    PyObject *message = PyTuple_GetItem(args, 0);
    if (self->deliver != NULL)
        return PyObject_CallFunctionObjArgs(self->deliver, message, NULL);
    if (!PyDict_CheckExact(message))
        return hand_over(self, message);
    PyObject *kind = PyDict_GetItemWithError(message, entrance->words[TYPE]); /* borrowed */
    if (self->ended) {
        /* No more is to come, and the server says so; of trailers, nothing was announced. */
        if (is_word_of(entrance, kind, TRAILERS))
            return PyObject_CallNoArgs(entrance->nothing);
        return PyObject_CallFunctionObjArgs(self->send, message, NULL);
    }
    if (self->start != NULL) {
        PyObject *page = is_word_of(entrance, kind, BODY) ? whole_page(self, message) : NULL;
        if (page == NULL) {
            PyErr_Clear();
            return hand_over(self, message);
        }
        PyObject *sending = send_page(self, message, page);
        Py_DECREF(page);
        return sending;
    }
    if (is_word_of(entrance, kind, START)) {
        if (is_plain_start(entrance, message))
            return PyObject_CallFunctionObjArgs(self->send, message, NULL);
        PyErr_Clear();
        PyObject *edition = edition_of(self, message);
        if (edition != NULL) {
            Py_INCREF(self->edition = edition);
            return withhold(self, message) < 0 ? NULL : PyObject_CallNoArgs(entrance->nothing);
        }
    } else if (is_word_of(entrance, kind, BODY) || is_word_of(entrance, kind, TRAILERS)) {
        return PyObject_CallFunctionObjArgs(self->send, message, NULL);
    }
    PyErr_Clear();
    return hand_over(self, message);
}

static PyType_Slot way_out_slots[] = {
    {Py_tp_dealloc, way_out_dealloc},
    {Py_tp_traverse, way_out_traverse},
    {Py_tp_clear, way_out_clear},
    {Py_tp_call, way_out_call},
    {Py_tp_doc, "Lets the messages of a response out; made by Entrance."},
    {0, NULL},
};

PyType_Spec way_out_spec = {
    .name = "consent._speedups.WayOut",
    .basicsize = sizeof(WayOut),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = way_out_slots,
};
