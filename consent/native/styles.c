/* What a style sheet loads: url(), src(), image-set() and @import (CSS Syntax, CSS Values).
 *
 * Read as consent.html.css reads it. Where a name that counts, or a URL to be judged, may have an escape in it, or a
 * string does not end on its line, it needs a look.
 */
#include "native.h"

#define MOST_OPEN 16

enum { AGAIN = -2 }; /* an outcome: the sheet has to be read once more, with care */

typedef struct {
    Page *page;                           /* judges; or NULL, and: */
    PyObject *places;                     /* list of where URLs begin and end */
    Bytes start, end;
    Bytes import;                         /* behind "@import" or a comment that follows it; NULL: there is none */
    unsigned char closing[MOST_OPEN];     /* what ends the function whose strings are URLs, and brackets open in it */
    int open;                             /* how many */
    int follows;                          /* declarations; done where one of an author's own name may have a string */
    Bytes since;                          /* where what was read last ends; or a bracket or semicolon, where it begins */
    int own_names;                        /* whether there are any; FAILED: not known yet */
    Bytes declaration;                    /* where the one that is read begins */
    int passes;                           /* UNCLASSIFIED: strings in it may become URLs; LOOK: not known; FAILED: not yet */
    int outcome;                          /* CLEAR, or UNCLASSIFIED */
} Sheet;

static int is_name_byte(unsigned char byte)
{
    return is_a(LETTER | DIGIT, byte) || byte == '-' || byte == '_' || byte >= 0x80;
}

/* Whether a backslash may be the second byte of a character in Shift_JIS, GBK or Big5. */
static int may_be_second(Bytes start, Bytes at)
{
    return at > start && at[-1] >= 0x81 && at[-1] <= 0xFE;
}

/* Pass an escape, from behind its backslash; NULL where it could write part of a name that counts. */
static Bytes behind_escape(Bytes at, Bytes end)
{
    Bytes first = at;
    uint32_t code = 0;
    for (; at < end && at - first < 6; at++) {
        unsigned char c = lower[*at];
        if (!is_a(DIGIT, c) && (c < 'a' || c > 'f'))
            break;
        code = code * 16 + (uint32_t)(is_a(DIGIT, c) ? c - '0' : c - 'a' + 10);
    }
    if (at == first)
        return at == end || is_a(LETTER | SPACE, *at) || *at == '-' ? NULL : at + 1;
    if (code < 0x80 && code != 0 && code != '\t' && (code < '0' || code > '9'))
        return NULL;
    return at < end && is_a(SPACE, *at) ? at + (*at == '\r' && end - at > 1 && at[1] == '\n' ? 2 : 1) : at;
}

static int note_place(Sheet *sheet, Bytes at, Bytes end)
{
    PyObject *place = Py_BuildValue("(nn)", (Py_ssize_t)(at - sheet->start), (Py_ssize_t)(end - sheet->start));
    int failed = place == NULL || PyList_Append(sheet->places, place) < 0;
    Py_XDECREF(place);
    return failed ? FAILED : CLEAR;
}

static int judge(Sheet *sheet, Bytes at, Bytes end)
{
    if (sheet->page == NULL)
        return note_place(sheet, at, end);
    if (memchr(at, '\\', (size_t)(end - at)))
        return LOOK;
    int outcome = url_outcome(sheet->page, at, end);
    if (outcome == UNCLASSIFIED)
        sheet->outcome = UNCLASSIFIED;
    return outcome;
}

/* Whether only blanks have come since "@import". */
static int imports(const Sheet *sheet, Bytes at)
{
    Bytes since = sheet->import;
    while (since != NULL && since < at && is_a(SPACE, *since))
        since++;
    return since == at;
}

/* Find the declaration that "at" is in. */
static void find_declaration(Sheet *sheet, Bytes at)
{
    for (Bytes before = at; before > sheet->since; before--)
        if (before[-1] == ';' || before[-1] == '{' || before[-1] == '}') {
            sheet->declaration = before;
            sheet->passes = FAILED;
            return;
        }
}

/* Whether a name of an author's own may stand in the sheet. */
static int has_own_name(Sheet *sheet)
{
    Bytes at = sheet->start, end = sheet->end;
    if (sheet->own_names == FAILED) {
        while (end - at > 1 && (at = memchr(at, '-', (size_t)(end - at) - 1)) != NULL && at[1] != '-')
            at++;
        sheet->own_names = at != NULL && end - at > 1;
    }
    return sheet->own_names;
}

/* Whether strings in the declaration at hand may become URLs elsewhere, by custom properties and functions. */
static int passes_urls(Sheet *sheet, Bytes end)
{
    if (!sheet->follows)
        return has_own_name(sheet) ? AGAIN : CLEAR;
    if (sheet->passes != FAILED)
        return sheet->passes;
    Bytes name = sheet->declaration;
    while (name < end && is_a(SPACE, *name))
        name++;
    Bytes at = name;
    while (at < end && is_name_byte(*at))
        at++;
    int is_own = at - name > 1 && name[0] == '-' && name[1] == '-';
    if (!is_own && !is_word(name, at, "initial-value") && !is_word(name, at, "result"))
        return sheet->passes = CLEAR;
    while (at < end && is_a(SPACE, *at))
        at++;
    int is_declared = at < end && *at == ':', is_odd = at < end && (*at == '/' || *at == '\\');
    return sheet->passes = is_declared && is_own ? UNCLASSIFIED : is_declared || is_odd ? LOOK : CLEAR;
}

/* Whether a string is what an attribute is compared with. */
static int is_compared(const Sheet *sheet, Bytes at)
{
    while (at > sheet->since && is_a(SPACE, at[-1]))
        at--;
    return at > sheet->since && at[-1] == '=';
}

/* Whether a string could be a URL that leads somewhere. */
static int leads(Bytes at, Bytes end)
{
    while (at < end && !is_a(STYLE_LEADS, *at))
        at++;
    return at < end;
}

/* Read a string from its quotation mark on, and move behind it. */
static int read_string(Sheet *sheet, Bytes *position)
{
    Bytes start = *position + 1, at = start;
    unsigned char quote = **position;
    while (at < sheet->end && *at != quote) {
        if (*at == '\n' || *at == '\r' || *at == '\f' || (*at == '\\' && may_be_second(start, at)))
            return LOOK;
        at += *at == '\\' && sheet->end - at > 1 ? (at[1] == '\r' && sheet->end - at > 2 && at[2] == '\n' ? 3 : 2) : 1;
    }
    if (at >= sheet->end)
        return LOOK;
    int counts = imports(sheet, *position);
    if (!counts && leads(start, at) && !is_compared(sheet, *position)) {
        int passes = sheet->open ? UNCLASSIFIED : passes_urls(sheet, start);
        if (passes == LOOK || passes == AGAIN)
            return passes;
        counts = passes == UNCLASSIFIED;
    }
    *position = at + 1;
    return counts ? judge(sheet, start, at) : CLEAR;
}

/* Read url( without quotation marks, from behind the parenthesis on. */
static int read_url(Sheet *sheet, Bytes *position)
{
    Bytes at = *position, end = sheet->end;
    while (at < end && is_a(SPACE, *at))
        at++;
    Bytes start = at;
    while (at < end && !is_a(STYLE_URL_END, *at))
        at++;
    Bytes stop = at;
    while (at < end && is_a(SPACE, *at))
        at++;
    if (at == end || *at != ')')
        return LOOK;
    *position = at + 1;
    return judge(sheet, start, stop);
}

static int open_function(Sheet *sheet, Bytes *position)
{
    Bytes open = *position - 1, name = open, end = sheet->end;
    while (name > sheet->start && is_name_byte(name[-1]))
        name--;
    if (name > sheet->start && (name[-1] == '\\' || (name - sheet->start > 1 && name[-2] == '\\')))
        return LOOK;
    int url = is_word(name, open, "url");
    if (url) {
        Bytes at = *position;
        while (at < end && is_a(SPACE, *at))
            at++;
        if (at == end || (*at != '"' && *at != '\''))
            return read_url(sheet, position);
    }
    int loads = url || sheet->open || is_word(name, open, "src") || is_word(name, open, "image") ||
                is_word(name, open, "image-set") || is_word(name, open, "-webkit-image-set") ||
                (open - name > 1 && name[0] == '-' && name[1] == '-');
    if (!loads && sheet->follows) {
        int passes = passes_urls(sheet, open);
        if (passes == LOOK)
            return LOOK;
        loads = passes == UNCLASSIFIED;
    }
    if (loads) {
        if (sheet->open == MOST_OPEN)
            return LOOK;
        sheet->closing[sheet->open++] = ')';
    }
    return CLEAR;
}

/* Pass the plain forms of what follows "@namespace", up to its semicolon; NULL: it is another. */
static Bytes behind_namespace(Bytes at, Bytes end)
{
    while (at < end && is_a(SPACE, *at))
        at++;
    Bytes name = at;
    while (at < end && is_name_byte(*at))
        at++;
    if (at < end && *at == '(') {
        if (!is_word(name, at, "url"))
            return NULL;
        for (at++; at < end && !is_a(STYLE_URL_END, *at);)
            at++;
        if (at == end || *at != ')')
            return NULL;
        at++;
    } else {
        while (at < end && is_a(SPACE, *at))
            at++;
        if (at == end || (*at != '"' && *at != '\''))
            return NULL;
        unsigned char quote = *at++;
        while (at < end && *at != quote && *at != '\\' && *at != '\n' && *at != '\r' && *at != '\f')
            at++;
        if (at == end || *at != quote)
            return NULL;
        at++;
    }
    return at < end && *at == ';' ? at : NULL;
}

/* Read the name of a rule, from behind its "@" on. */
static int read_rule(Sheet *sheet, Bytes *position)
{
    Bytes name = *position, at = name;
    while (at < sheet->end && is_name_byte(*at))
        at++;
    if (at < sheet->end && *at == '\\')
        return LOOK;
    *position = at;
    if (is_word(name, at, "import"))
        sheet->import = at;
    else if (is_word(name, at, "namespace"))
        *position = behind_namespace(at, sheet->end);
    return *position ? CLEAR : LOOK;
}

#if defined(__GNUC__)
typedef unsigned char Block __attribute__((vector_size(16)));

static inline Block equal_to(Block block, unsigned char byte)
{
    Block wanted;
    memset(&wanted, byte, sizeof wanted);
    return (Block)(block == wanted);
}
#endif

/* The next place where anything that counts may begin, outside of functions and imports; or the end. */
static Bytes beginning(Bytes at, Bytes end)
{
#if defined(__GNUC__)
    for (; end - at >= (Py_ssize_t)sizeof(Block); at += sizeof(Block)) {
        Block block;
        uint64_t found[sizeof(Block) / 8];
        memcpy(&block, at, sizeof block);
        block = equal_to(block, '/') | equal_to(block, '"') | equal_to(block, '\'') | equal_to(block, '(') |
                equal_to(block, '\\') | equal_to(block, '@');
        memcpy(found, &block, sizeof found);
        if (found[0] | found[1])
            break;
    }
#endif
    while (at < end && !is_a(STYLE_BEGIN, *at))
        at++;
    return at;
}

/* Whether the name up to "at" begins as those of custom properties and functions do. */
static int is_own_name(const Sheet *sheet, Bytes at)
{
    Bytes name = at;
    while (name > sheet->start && is_name_byte(name[-1]))
        name--;
    return at - name > 1 && name[0] == '-' && name[1] == '-';
}

/* Whether the rest of a name, behind a blank that ended an escape, is before a parenthesis. */
static int names_function(Bytes at, Bytes end)
{
    if (!is_a(SPACE, at[-1]))
        return 0;
    while (at < end && is_name_byte(*at))
        at++;
    return at < end && *at == '(';
}

/* Pass a bracket or a semicolon; in a function, a bracket that is none's counterpart means nothing. */
static int pass_bracket(Sheet *sheet, unsigned char byte)
{
    if (!sheet->open)
        return CLEAR;
    if (byte == sheet->closing[sheet->open - 1]) {
        sheet->open--;
    } else if (byte == '[' || byte == '{') {
        if (sheet->open == MOST_OPEN)
            return LOOK;
        sheet->closing[sheet->open++] = byte == '[' ? ']' : '}';
    }
    return CLEAR;
}

static int read_sheet(Sheet *sheet)
{
    Bytes at = sheet->start, end = sheet->end;
    sheet->declaration = sheet->since = at;
    sheet->passes = FAILED;
    if (!sheet->follows)
        sheet->own_names = FAILED;
    if (sheet->page && memchr(at, 0x1A, (size_t)(end - at)))
        return LOOK; /* what it is read with in two ways */
    for (;;) {
        if (sheet->open || sheet->import)
            while (at < end && !is_a(STYLE_TURN, *at))
                at++;
        else
            at = beginning(at, end);
        if (at >= end)
            return sheet->outcome;
        Bytes import = sheet->import, start = at;
        int outcome = CLEAR, is_bracket = 0;
        if (sheet->follows && !sheet->open)
            find_declaration(sheet, at);
        switch (*at) {
        case '/':
            if (++at == end || *at != '*') {
                sheet->since = start;
                continue;
            }
            for (at++; (at = at < end ? memchr(at, '*', (size_t)(end - at)) : NULL) != NULL; at++)
                if (end - at > 1 && at[1] == '/')
                    break;
            at = at ? at + 2 : end;
            if (import != NULL)
                sheet->import = imports(sheet, start) ? at : NULL;
            sheet->since = at;
            while (sheet->declaration < start && is_a(SPACE, *sheet->declaration))
                sheet->declaration++;
            if (sheet->declaration == start)
                sheet->declaration = at;
            continue;
        case '"':
        case '\'':
            outcome = read_string(sheet, &at);
            break;
        case '(':
            at++;
            /* What stands before the parenthesis ends an import, if it is no url. */
            outcome = open_function(sheet, &at);
            break;
        case '@':
            at++;
            sheet->import = NULL;
            outcome = read_rule(sheet, &at);
            import = NULL;
            break;
        case '\\':
            at = may_be_second(sheet->start, at) ? NULL : behind_escape(at + 1, end);
            outcome = at && !is_own_name(sheet, start) && !names_function(at, end) ? CLEAR : LOOK;
            break;
        default: /* a bracket, or a semicolon */
            is_bracket = !sheet->open;
            outcome = pass_bracket(sheet, *at++);
        }
        sheet->since = is_bracket ? start : at;
        if (outcome == AGAIN && sheet->places && PyList_SetSlice(sheet->places, 0, PyList_Size(sheet->places), NULL) < 0)
            return FAILED;
        if (outcome == AGAIN) {
            sheet->follows = 1;
            sheet->open = 0;
            sheet->import = NULL;
            return read_sheet(sheet);
        }
        if (outcome <= LOOK)
            return outcome;
        if (import != NULL)
            sheet->import = NULL;
    }
}

int style_outcome(Page *page, Bytes start, Bytes end, int references)
{
    unsigned char text[LONGEST_REFERENCING];
    Sheet sheet = {.page = page, .start = start, .end = end, .outcome = CLEAR};
    if (references && memchr(start, '&', (size_t)(end - start))) {
        if (end - start > LONGEST_REFERENCING)
            return LOOK;
        sheet.end = decode_references(start, end, text);
        sheet.start = text;
        if (sheet.end == NULL)
            return LOOK;
    }
    Bytes kind = page->kind;
    size_t kind_length = page->kind_length;
    int runs_data = page->runs_data;
    page->kind = (Bytes)"style";
    page->kind_length = 5;
    page->runs_data = 0;
    page->may_import = 1;
    int outcome = read_sheet(&sheet);
    page->kind = kind;
    page->kind_length = kind_length;
    page->runs_data = runs_data;
    page->may_import = 0;
    return outcome;
}

PyObject *style_urls(PyObject *module, PyObject *argument)
{
    (void)module;
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &text, &length) < 0)
        return NULL;
    Sheet sheet = {.start = (Bytes)text, .end = (Bytes)text + length, .outcome = CLEAR, .places = PyList_New(0)};
    int outcome = sheet.places ? read_sheet(&sheet) : FAILED;
    if (outcome == CLEAR)
        return sheet.places;
    Py_XDECREF(sheet.places);
    if (outcome == FAILED)
        return NULL;
    Py_INCREF(Py_None);
    return Py_None;
}
