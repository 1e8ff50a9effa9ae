/* What a style sheet loads: url(), src(), image-set() and @import (CSS Syntax, CSS Values).
 *
 * Read as consent.html.css reads it. Where a name or a URL has an escape in it, or a string does not end on its
 * line, it needs a look.
 */
#include "native.h"

#define MOST_FUNCTIONS 16

typedef struct {
    Page *page;                           /* judges; or NULL, and: */
    PyObject *places;                     /* list of where URLs begin and end */
    Bytes start, end;
    Bytes import;                         /* behind "@import" or a comment that follows it; NULL: there is none */
    unsigned char loads[MOST_FUNCTIONS];  /* of each open function: whether a string in it is a URL */
    int functions;                        /* counted from one whose strings are URLs on */
    int outcome;                          /* CLEAR, or STRANGER */
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
    if (memchr(at, '\\', (size_t)(end - at)))
        return LOOK;
    if (sheet->page == NULL)
        return note_place(sheet, at, end);
    int outcome = url_outcome(sheet->page, at, end);
    if (outcome == STRANGER)
        sheet->outcome = STRANGER;
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
    int counts = imports(sheet, *position) || (sheet->functions && sheet->loads[sheet->functions - 1]);
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
    while (name > sheet->start && is_name_byte(name[-1])) {
        if (open - name > 64)
            return LOOK;
        name--;
    }
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
    int loads = url || is_word(name, open, "src") || is_word(name, open, "image") ||
                is_word(name, open, "image-set") || is_word(name, open, "-webkit-image-set");
    if (loads || sheet->functions) {
        if (sheet->functions == MOST_FUNCTIONS)
            return LOOK;
        sheet->loads[sheet->functions++] = (unsigned char)loads;
    }
    return CLEAR;
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
        *position = (at = memchr(at, ';', (size_t)(sheet->end - at))) ? at : sheet->end;
    return CLEAR;
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

static int read_sheet(Sheet *sheet)
{
    Bytes at = sheet->start, end = sheet->end;
    if (sheet->page && memchr(at, 0x1A, (size_t)(end - at)))
        return LOOK; /* what it is read with in two ways */
    for (;;) {
        if (sheet->functions || sheet->import)
            while (at < end && !is_a(STYLE_TURN, *at))
                at++;
        else
            at = beginning(at, end);
        if (at >= end)
            return sheet->outcome;
        Bytes import = sheet->import;
        int outcome = CLEAR;
        switch (*at) {
        case '/':
            if (++at == end || *at != '*')
                continue;
            Bytes comment = at - 1;
            for (at++; (at = at < end ? memchr(at, '*', (size_t)(end - at)) : NULL) != NULL; at++)
                if (end - at > 1 && at[1] == '/')
                    break;
            at = at ? at + 2 : end;
            if (import != NULL)
                sheet->import = imports(sheet, comment) ? at : NULL;
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
        case ')':
            at++;
            sheet->functions -= sheet->functions > 0;
            break;
        case '@':
            at++;
            sheet->import = NULL;
            outcome = read_rule(sheet, &at);
            import = NULL;
            break;
        case '\\':
            at = may_be_second(sheet->start, at) ? NULL : behind_escape(at + 1, end);
            outcome = at ? CLEAR : LOOK;
            break;
        default: /* a block or a declaration ends or begins */
            at++;
            sheet->functions = 0;
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
    int outcome = read_sheet(&sheet);
    page->kind = kind;
    page->kind_length = kind_length;
    page->runs_data = runs_data;
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
