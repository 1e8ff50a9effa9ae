/* PageScreen: passes all of a page that nobody has to be asked about, elements with their content.
 *
 * What it passes, the rewriter would leave as it is, and the judge would have nothing to do or note about, but
 * for URLs that are nobody's, or of vendors that are allowed, which are listed.
 */
#include "native.h"

/* How an attribute's value is read. */
enum { ANY_VALUE = 1, URL_VALUE, SRCSET_VALUE, STYLE_VALUE, DRAWN_STYLE_VALUE };

/* What a tag is to the rewriter; the numbers are known to consent.html.screening. */
enum {
    STOPS = 1,         /* it changes how the rest is read, or is asked for by its name */
    ENDS_STOP = 2,     /* its end tag, too */
    RUNS_DATA = 4,     /* it shows or runs what a "data:" URL holds */
    RAW_TEXT = 8,      /* its content is text up to its end tag */
    SCRIPT = 16,
    STYLE = 32,
    NOSCRIPT = 64,
    DRAWING = 128,     /* <svg> */
    DRAWN = 256,       /* an element of SVG that holds only such elements */
    DRAWN_TEXT = 512,  /* one whose content is read as HTML */
    PAGE = 1024,       /* its start tag tells that this is a page */
};

/* How the page is read; the numbers are known to consent.html.judge. */
enum { AT_HOME = 1, SCRIPTING = 2, IS_PAGE = 4, BEFORE_HEAD = 8 };

enum { CODE_TYPE = 1, URLS_TYPE = 2 };

#define MOST_ATTRIBUTES 64
#define MOST_STRANGERS 16
#define MOST_DRAWN 24
#define MOST_SETTLED 4096

typedef struct {
    uint32_t flags;
    uint32_t gate; /* the number of the attribute that must have one of the keywords; 0: none */
    Table keywords;
    unsigned char readers[MOST_ATTRIBUTES]; /* by number */
    char name[33]; /* "/" and the name in lower case */
    size_t length; /* of the name */
} Tag;

typedef struct {
    PyObject_HEAD
    PyObject *evidence, *rules;
    Table by_name, attributes; /* to the index in tags; to the number */
    Tag *tags;
    Py_ssize_t count;
    unsigned char anywhere[MOST_ATTRIBUTES];
    uint32_t numbers;
    uint32_t script_type;
    Table script_types; /* "type" values of scripts that are no data, to CODE_TYPE or URLS_TYPE */
} PageScreen;

/* One call of skip(). */
typedef struct {
    Page page;
    const PageScreen *screen;
    const Evidence *evidence;
    PyObject *strangers; /* list */
    Py_ssize_t longest;  /* that an element which is read as a whole may be */
    int reading;
    int drawing; /* the tag at hand is one of SVG */
} Pass;

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

/* --- tags --- */

/* What the attributes of one tag told. */
typedef struct {
    struct { Bytes value, end; int reader; } strangers[MOST_STRANGERS];
    int count;
    uint64_t counted; /* attributes by number: of each name the first counts that is not empty */
    int needs_look; /* if the gate is open */
    int gate_open;
    int is_data;    /* a script that does not run */
    int has_type;
    int self_closing;
} Told;

static int has_keyword(const Table *keywords, Bytes at, Bytes end)
{
    if (at != NULL && memchr(at, '&', (size_t)(end - at)))
        return 1;
    while (at < end) {
        Bytes word = at;
        while (at < end && !is_a(SPACE, *at) && *at != '\v')
            at++;
        if (at > word && table_find_folded(keywords, word, (size_t)(at - word)))
            return 1;
        at++;
    }
    return 0;
}

static int handler_clears(const Pass *pass, Bytes at, Bytes end)
{
    unsigned char text[LONGEST_REFERENCING];
    if (at != NULL && memchr(at, '&', (size_t)(end - at))) {
        if (end - at > LONGEST_REFERENCING)
            return 0;
        end = decode_references(at, end, text);
        at = text;
    }
    return at == NULL || (end != NULL && clears_script(pass->evidence, at, end));
}

static int could_refer(Bytes at, Bytes end)
{
    while (at < end && *at != '(' && *at != '\\' && *at != '&')
        at++;
    return at < end;
}

static int urls_outcome(Pass *pass, int reader, Bytes at, Bytes end)
{
    if (at == end)
        return CLEAR;
    switch (reader) {
    case URL_VALUE:
        return url_outcome(&pass->page, at, end);
    case SRCSET_VALUE:
        return srcset_outcome(&pass->page, at, end);
    default:
        return could_refer(at, end) ? style_outcome(&pass->page, at, end, 1) : CLEAR;
    }
}

static int read_urls(Pass *pass, int reader, Bytes at, Bytes end, Told *told)
{
    int outcome = urls_outcome(pass, reader, at, end);
    if (outcome == LOOK || (outcome == STRANGER && told->count == MOST_STRANGERS)) {
        told->needs_look = 1;
    } else if (outcome == STRANGER) {
        told->strangers[told->count].value = at;
        told->strangers[told->count].reader = reader;
        told->strangers[told->count++].end = end;
    }
    return outcome == FAILED ? FAILED : CLEAR;
}

static int is_blank(Bytes at, Bytes end)
{
    while (at < end && is_a(SPACE, *at))
        at++;
    return at == end;
}

static void read_type(const PageScreen *screen, Bytes value, Bytes end, Told *told)
{
    int is_given = value < end;
    while (value < end && is_a(SPACE, *value))
        value++;
    while (value < end && is_a(SPACE, end[-1]))
        end--;
    const Slot *slot = table_find_folded(&screen->script_types, value, (size_t)(end - value));
    told->is_data = is_given && slot == NULL;
    told->needs_look |= (slot && slot->value == URLS_TYPE) || memchr(value, '&', (size_t)(end - value)) != NULL;
}

static int read_attribute(Pass *pass, const Tag *tag, const Attribute *attribute, Told *told)
{
    const PageScreen *screen = pass->screen;
    Bytes name = attribute->name, value = attribute->value, end = attribute->value_end;
    size_t length = (size_t)(attribute->name_end - name);
    if (length > 1 && lower[name[0]] == 'o' && lower[name[1]] == 'n')
        return !(pass->reading & BEFORE_HEAD) && handler_clears(pass, value, end) ? CLEAR : LOOK;
    const Slot *slot = table_find_folded(&screen->attributes, name, length);
    if (slot == NULL)
        return CLEAR;
    int reader = tag ? tag->readers[slot->value] : 0, anywhere = screen->anywhere[slot->value];
    if (pass->reading & BEFORE_HEAD && (anywhere == ANY_VALUE || anywhere == URL_VALUE ||
                                        (anywhere == STYLE_VALUE && could_refer(value, end))))
        return LOOK;
    uint64_t bit = (uint64_t)1 << slot->value;
    if (told->counted & bit)
        return tag && tag->gate == slot->value ? LOOK : CLEAR;
    if (!is_blank(value, end))
        told->counted |= bit;
    if (tag && tag->gate == slot->value)
        told->gate_open |= has_keyword(&tag->keywords, value, end);
    if (tag && tag->flags & SCRIPT && slot->value == screen->script_type && !told->has_type++ && value)
        read_type(screen, value, end, told);
    if (reader == ANY_VALUE)
        told->needs_look = 1;
    else if (reader) {
        return read_urls(pass, reader, value, end, told);
    } else if (anywhere == ANY_VALUE || (anywhere == URL_VALUE && pass->drawing)) {
        return LOOK;
    } else if (anywhere && (anywhere != DRAWN_STYLE_VALUE || pass->drawing)) {
        /* Without its keyword an element loads nothing else. */
        int outcome = tag && tag->gate ? urls_outcome(pass, anywhere, value, end)
                                       : read_urls(pass, anywhere, value, end, told);
        return outcome == STRANGER ? LOOK : outcome;
    }
    return CLEAR;
}

/* Note the strangers of a tag that is passed, or of a style sheet: from now on they are settled. */
static int note_strangers(Pass *pass, const Told *told, Bytes sheet, Bytes sheet_end)
{
    if (PySet_Size(pass->page.settled) >= MOST_SETTLED)
        return LOOK;
    pass->page.strangers = pass->strangers;
    int outcome = sheet ? style_outcome(&pass->page, sheet, sheet_end, 0) : CLEAR;
    for (int i = 0; told && i < told->count && outcome != FAILED; i++)
        outcome = urls_outcome(pass, told->strangers[i].reader, told->strangers[i].value, told->strangers[i].end);
    pass->page.strangers = NULL;
    return outcome == FAILED ? FAILED : CLEAR;
}

static int sheet_clears(Pass *pass, Bytes sheet, Bytes end)
{
    int outcome = style_outcome(&pass->page, sheet, end, 0);
    return outcome == STRANGER ? note_strangers(pass, NULL, sheet, end) : outcome;
}

/* Pass a start tag from behind its name on. */
static int tag_clears(Pass *pass, const Tag *tag, Bytes *position, Bytes end, Told *told)
{
    Bytes at = *position, last = NULL;
    Attribute attribute;
    pass->page.runs_data = tag && tag->flags & RUNS_DATA;
    told->counted = 0;
    told->count = told->needs_look = told->gate_open = told->is_data = told->has_type = 0;
    for (;;) {
        switch (next_attribute(&at, end, &attribute)) {
        case INCOMPLETE:
            return LOOK;
        case END_OF_TAG:
            /* A slash belongs to an unquoted value that it ends. */
            told->self_closing = at[-2] == '/' && last != at - 1;
            *position = at;
            if (tag && tag->gate && !told->gate_open)
                return CLEAR;
            if (told->needs_look)
                return LOOK;
            return told->count ? note_strangers(pass, told, NULL, NULL) : CLEAR;
        }
        last = attribute.end;
        int outcome = read_attribute(pass, tag, &attribute, told);
        if (outcome <= LOOK)
            return outcome;
    }
}

/* Pass the rest of an end tag, from behind its name on. */
static int end_tag_passes(Bytes *position, Bytes end)
{
    Attribute attribute;
    int outcome;
    while ((outcome = next_attribute(position, end, &attribute)) == ATTRIBUTE)
        ;
    return outcome == END_OF_TAG;
}

/* --- content --- */

static Bytes skip_markup(Pass *pass, Bytes at, Bytes end);

/* The content of an element of raw text, and behind its end tag; 0 where that is not there. */
static int find_content(const Tag *tag, Bytes *position, Bytes *close, Bytes end)
{
    *close = find_named(*position, end, tag->name, tag->length + 1);
    if (*close == NULL)
        return 0;
    *position = *close + 2 + tag->length;
    return end_tag_passes(position, end);
}

static int noscript_clears(Pass *pass, Bytes content, Bytes close)
{
    int reading = pass->reading;
    pass->reading &= AT_HOME; /* and what tells that it is a page stands elsewhere */
    Bytes reached = skip_markup(pass, content, close);
    pass->reading = reading;
    return reached == NULL ? FAILED : reached == close ? CLEAR : LOOK;
}

/* Pass the content of an element whose start tag begins at "start" and ends before *position. */
static int content_clears(Pass *pass, const Tag *tag, const Told *told, Bytes start, Bytes *position, Bytes end)
{
    Bytes content = *position, close;
    if (!find_content(tag, position, &close, end))
        return LOOK;
    if (tag->flags & RAW_TEXT)
        return CLEAR;
    if (*position - start > pass->longest)
        return LOOK;
    if (tag->flags & STYLE)
        return sheet_clears(pass, content, close);
    if (tag->flags & NOSCRIPT)
        return noscript_clears(pass, content, close);
    /* A script that has "<!--" in it may go on behind the first end tag. */
    for (Bytes at = content; close - at > 3 && (at = memchr(at, '<', (size_t)(close - at) - 3)); at++)
        if (at[1] == '!' && at[2] == '-' && at[3] == '-')
            return LOOK;
    return told->is_data || clears_script(pass->evidence, content, close) ? CLEAR : LOOK;
}

typedef struct { Bytes name; size_t length; } Open;

static int closes(const Open *open, Bytes name, size_t length)
{
    if (open->length != length)
        return 0;
    for (size_t i = 0; i < length; i++)
        if (lower[open->name[i]] != lower[name[i]])
            return 0;
    return 1;
}

static const Tag *tag_named(const PageScreen *screen, Bytes name, Bytes name_end)
{
    const Slot *slot = table_find_folded(&screen->by_name, name, (size_t)(name_end - name));
    return slot ? &screen->tags[slot->value] : NULL;
}

/* Pass the rest of a well-formed drawing, from behind its <svg> on: plain elements, each closed by its own end tag. */
static int shapes_clear(Pass *pass, Bytes name, size_t length, Bytes *position, Bytes end)
{
    Open open[MOST_DRAWN] = {{name, length}};
    int depth = 1, text_only = 0;
    Bytes at = *position;
    while (depth) {
        at = memchr(at, '<', (size_t)(end - at));
        if (at == NULL || end - at < 4)
            return LOOK;
        if (at[1] == '!') {
            at = text_only || at[2] != '-' || at[3] != '-' ? NULL : comment_end(at + 4, end);
            if (at == NULL)
                return LOOK;
            continue;
        }
        int closing = at[1] == '/';
        name = at += 1 + closing;
        while (at < end && !is_a(ENDS_NAME, *at))
            at++;
        if (at == end || !is_a(LETTER, *name))
            return LOOK;
        length = (size_t)(at - name);
        if (closing) {
            if (!closes(&open[depth - 1], name, length) || !end_tag_passes(&at, end))
                return LOOK;
            depth--;
            text_only = 0;
            continue;
        }
        const Tag *tag = tag_named(pass->screen, name, at);
        if (text_only || tag == NULL || !(tag->flags & (DRAWING | DRAWN | DRAWN_TEXT)))
            return LOOK;
        Told told;
        pass->page.kind = (Bytes)tag->name + 1;
        pass->page.kind_length = tag->length;
        int outcome = tag_clears(pass, tag, &at, end, &told);
        if (outcome <= LOOK)
            return outcome;
        if (told.self_closing)
            continue;
        if (depth == MOST_DRAWN)
            return LOOK;
        text_only = (tag->flags & DRAWN_TEXT) != 0;
        open[depth++] = (Open){name, length};
    }
    *position = at;
    return CLEAR;
}

static int drawing_clears(Pass *pass, Bytes name, size_t length, Bytes *position, Bytes end)
{
    pass->drawing = 1;
    int outcome = shapes_clear(pass, name, length, position, end);
    pass->drawing = 0;
    return outcome;
}

/* --- the page --- */

/* Pass the start tag whose "<" is at "start" and whose name ends at *position, with its content. */
static int element_clears(Pass *pass, Bytes start, Bytes *position, Bytes end)
{
    Bytes name = start + 1;
    size_t length = (size_t)(*position - name);
    const Tag *tag = tag_named(pass->screen, name, *position);
    Told told;
    if (tag && tag->flags & DRAWN)
        tag = NULL; /* in HTML such a name means nothing */
    if (tag && (tag->flags & STOPS || (tag->flags & PAGE && !(pass->reading & IS_PAGE))))
        return LOOK;
    if (tag && pass->reading & BEFORE_HEAD && !is_word(name, *position, "html"))
        return LOOK;
    pass->drawing = tag && tag->flags & DRAWING;
    pass->page.kind = tag ? (Bytes)tag->name + 1 : NULL;
    pass->page.kind_length = tag ? tag->length : LONGEST_NAME + 1; /* such elements have nothing to be settled */
    int outcome = tag_clears(pass, tag, position, end, &told);
    if (outcome <= LOOK || tag == NULL)
        return outcome;
    if (tag->flags & DRAWING)
        return told.self_closing ? CLEAR : drawing_clears(pass, name, length, position, end);
    if (tag->flags & (RAW_TEXT | SCRIPT | STYLE) || (tag->flags & NOSCRIPT && pass->reading & SCRIPTING))
        return content_clears(pass, tag, &told, start, position, end);
    return CLEAR;
}

/* Return the next place that needs a look, or "end"; NULL with an exception. */
static Bytes skip_markup(Pass *pass, Bytes at, Bytes end)
{
    while (at < end && (at = memchr(at, '<', (size_t)(end - at))) != NULL) {
        Bytes start = at++;
        if (at == end)
            return start;
        int outcome = CLEAR;
        if (is_a(LETTER, *at)) {
            while (at < end && !is_a(ENDS_NAME, *at))
                at++;
            outcome = at == end ? LOOK : element_clears(pass, start, &at, end);
        } else if (*at == '/') {
            Bytes name = ++at;
            if (at == end || !is_a(LETTER, *at))
                return start;
            while (at < end && !is_a(ENDS_NAME, *at))
                at++;
            const Tag *tag = at == end ? NULL : tag_named(pass->screen, name, at);
            outcome = at < end && !(tag && tag->flags & ENDS_STOP) && end_tag_passes(&at, end) ? CLEAR : LOOK;
        } else if (*at == '!') {
            at = end - at > 2 && at[1] == '-' && at[2] == '-' ? comment_end(at + 3, end) : NULL;
            outcome = at ? CLEAR : LOOK;
        } else if (*at == '?') {
            return start;
        }
        if (outcome != CLEAR)
            return outcome == FAILED ? NULL : start;
    }
    return end;
}

static PyObject *page_screen_skip(PyObject *object, PyObject *args)
{
    PageScreen *self = (PageScreen *)object;
    Pass pass;
    Py_buffer view;
    Py_ssize_t position;
    if (!PyArg_ParseTuple(args, "O!O!y#y*nni", &PySet_Type, &pass.page.settled, &PyList_Type, &pass.strangers,
                          &pass.page.allowed, &pass.page.vendors, &view, &position, &pass.longest, &pass.reading))
        return NULL;
    if (position < 0 || position > view.len) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_IndexError, "the position is not within the page");
        return NULL;
    }
    pass.evidence = as_evidence(self->evidence);
    pass.page.rules = as_url_rules(self->rules);
    pass.page.at_home = pass.reading & AT_HOME;
    pass.page.strangers = NULL;
    pass.drawing = 0;
    pass.page.last_length = 0;
    pass.screen = self;
    Bytes page = view.buf, reached = skip_markup(&pass, page + position, page + view.len);
    Py_ssize_t offset = reached ? (Py_ssize_t)(reached - page) : -1;
    PyBuffer_Release(&view);
    return reached ? PyLong_FromSsize_t(offset) : NULL;
}

static PyMethodDef page_screen_methods[] = {
    {"skip", page_screen_skip, METH_VARARGS,
     "skip(settled, strangers, allowed, page, position, longest, reading): return the offset of the next place "
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
