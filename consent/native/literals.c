/* The strings and comments of a script, as consent.catalog.script_text finds them. */
#include "native.h"

typedef struct {
    Bytes text, end;
    PyObject *starts, *ends; /* bytearrays of uint32_t */
    uint32_t *depths;        /* open braces in each template substitution that is open */
    size_t depth, room;
} Script;

enum { UNREADABLE, READ, NO_MEMORY };

/* What stands before a slash, blanks and comments left out: it tells a division from a regular expression. */
typedef struct {
    Bytes start, end; /* code; or empty, with: */
    unsigned char mark; /* 0: nothing */
} Before;

#define VALUE '0'

static int add_number(PyObject *numbers, uint32_t number)
{
    Py_ssize_t size = PyByteArray_Size(numbers);
    /* Grown by the object itself, which keeps room for more. */
    if (PyByteArray_Resize(numbers, size + (Py_ssize_t)sizeof number) < 0)
        return -1;
    memcpy(PyByteArray_AsString(numbers) + size, &number, sizeof number);
    return 0;
}

static int add(Script *script, Bytes start, Bytes end)
{
    return add_number(script->starts, (uint32_t)(start - script->text)) < 0 ||
                   add_number(script->ends, (uint32_t)(end - script->text)) < 0
               ? NO_MEMORY
               : READ;
}

static int is_line_end(Bytes at, Bytes end)
{
    return *at == '\n' || *at == '\r' ||
           (*at == 0xE2 && end - at > 2 && at[1] == 0x80 && (at[2] == 0xA8 || at[2] == 0xA9));
}

static Bytes without_blanks(Bytes start, Bytes end)
{
    for (;;)
        if (end > start && (is_a(SPACE, end[-1]) || end[-1] == '\v'))
            end--;
        else if (end - start > 1 && end[-2] == 0xC2 && end[-1] == 0xA0)
            end -= 2;
        else if (end - start > 2 && ((end[-3] == 0xE2 && end[-2] == 0x80 && (end[-1] == 0xA8 || end[-1] == 0xA9)) ||
                                     (end[-3] == 0xEF && end[-2] == 0xBB && end[-1] == 0xBF)))
            end -= 3;
        else
            return end;
}

static int expects_expression(const Before *before)
{
    static const char *const words[] = {"return", "typeof", "case", "in", "of", "delete", "void",
                                        "throw", "new", "else", "do", NULL};
    int is_text = before->start < before->end;
    unsigned char last = is_text ? before->end[-1] : before->mark;
    if (last ? strchr("(,=:[!&|?{;+-*%<>~^", last) != NULL : !is_text)
        return 1;
    for (const char *const *word = words; *word != NULL; word++) {
        size_t length = strlen(*word);
        if ((size_t)(before->end - before->start) < length)
            continue;
        Bytes at = before->end - length;
        if (memcmp(at, *word, length) == 0 && (at == before->start || !(is_a(WORD, at[-1]) || at[-1] == '.' || at[-1] >= 0x80)))
            return 1;
    }
    return 0;
}

/* Behind the string whose quotation mark is at "at"; NULL where its line ends first. */
static Bytes behind_string(Bytes at, Bytes end)
{
    unsigned char quote = *at++;
    while (at < end && *at != quote) {
        if (*at == '\n' || *at == '\r')
            return NULL;
        at += *at != '\\' ? 1 : end - at > 2 && at[1] == '\r' && at[2] == '\n' ? 3 : 2;
    }
    return at < end ? at + 1 : NULL;
}

/* Behind the regular expression whose slash is at "at"; NULL where it is none. */
static Bytes behind_expression(Bytes at, Bytes end)
{
    int in_class = 0;
    Bytes start = ++at;
    for (; at < end && *at != '\n' && *at != '\r'; at++) {
        if (*at == '\\') {
            if (++at == end || *at == '\n' || *at == '\r')
                return NULL;
        } else if (in_class) {
            in_class = *at != ']';
        } else if (*at == '[') {
            in_class = 1;
        } else if (*at == '/') {
            if (at == start)
                return NULL;
            for (at++; at < end && is_a(LETTER, *at);)
                at++;
            return at;
        }
    }
    return NULL;
}

static Bytes behind_line(Bytes at, Bytes end)
{
    while (at < end && !is_line_end(at, end))
        at++;
    return at;
}

static Bytes behind_comment(Bytes at, Bytes end)
{
    for (at += 2; end - at > 1 && (at = memchr(at, '*', (size_t)(end - at) - 1)) != NULL; at++)
        if (at[1] == '/')
            return at + 2;
    return NULL;
}

/* Take template text, opened at *position, up to its end or next substitution. */
static int read_template(Script *script, Bytes *position)
{
    Bytes start = *position, at = start + 1, end = script->end;
    while (at < end && *at != '`' && !(*at == '$' && end - at > 1 && at[1] == '{'))
        at += *at == '\\' ? 2 : 1;
    if (at >= end)
        return UNREADABLE;
    if (*at == '`') {
        *position = at + 1;
    } else {
        if (script->depth == script->room) {
            size_t room = script->room ? script->room * 2 : 16;
            uint32_t *depths = PyMem_Realloc(script->depths, room * sizeof *depths);
            if (depths == NULL) {
                PyErr_NoMemory();
                return NO_MEMORY;
            }
            script->depths = depths;
            script->room = room;
        }
        script->depths[script->depth++] = 0;
        *position = at + 2;
    }
    return add(script, start, *position);
}

static int read_script(Script *script)
{
    Bytes at = script->text, end = script->end, place = at;
    Before before = {NULL, NULL, 0};
    for (;; place++) {
        while (place < end && !is_a(SCRIPT_TURN, *place))
            place++;
        if (place == end)
            return script->depth ? UNREADABLE : READ;
        unsigned char mark = *place;
        if ((mark == '<' && !(end - place > 3 && memcmp(place, "<!--", 4) == 0)) ||
            ((mark == '{' || mark == '}') && !script->depth))
            continue;
        Bytes start = place, code_end = without_blanks(at, start);
        if (mark != '"' && mark != '\'' && code_end > at)
            before = (Before){at, code_end, 0};
        Bytes behind = NULL;
        int outcome = READ;
        if (mark == '"' || mark == '\'') {
            if ((behind = behind_string(start, end)) == NULL)
                return UNREADABLE;
            before = (Before){NULL, NULL, VALUE};
            outcome = add(script, start, behind);
        } else if (mark == '<' || (mark == '/' && end - start > 1 && start[1] == '/')) {
            behind = behind_line(start, end);
            outcome = add(script, start, behind);
        } else if (mark == '/' && end - start > 1 && start[1] == '*') {
            if ((behind = behind_comment(start, end)) == NULL)
                return UNREADABLE;
            outcome = add(script, start, behind);
        } else if (mark == '/') {
            if (expects_expression(&before))
                behind = behind_expression(start, end);
            before = (Before){NULL, NULL, behind ? VALUE : mark};
            if (behind)
                outcome = add(script, start, behind);
            else
                behind = start + 1;
        } else if (mark == '{' || (mark == '}' && script->depths[script->depth - 1])) {
            script->depths[script->depth - 1] += mark == '{' ? 1 : (uint32_t)-1;
            before = (Before){NULL, NULL, mark};
            behind = start + 1;
        } else {
            script->depth -= mark == '}';
            behind = start;
            outcome = read_template(script, &behind);
            if (outcome == READ)
                before = (Before){NULL, NULL, behind[-1] == '{' ? '{' : VALUE};
        }
        if (outcome != READ)
            return outcome;
        at = behind;
        place = behind - 1;
    }
}

PyObject *literals(PyObject *module, PyObject *argument)
{
    (void)module;
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &text, &length) < 0)
        return NULL;
    if ((uint64_t)length >= UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "the script is too long");
        return NULL;
    }
    Script script = {.text = (Bytes)text, .end = (Bytes)text + length};
    script.starts = PyByteArray_FromStringAndSize(NULL, 0);
    script.ends = PyByteArray_FromStringAndSize(NULL, 0);
    int outcome = script.starts && script.ends ? read_script(&script) : NO_MEMORY;
    PyMem_Free(script.depths);
    PyObject *result = outcome == NO_MEMORY ? NULL
                       : outcome == READ    ? PyTuple_Pack(2, script.starts, script.ends)
                                            : Py_BuildValue("(y#y#)", "", (Py_ssize_t)0, "", (Py_ssize_t)0);
    Py_XDECREF(script.starts);
    Py_XDECREF(script.ends);
    return result;
}
