/* Pages for visitors who refuse nothing: not read, but for the place at the end where something is put in. */
#include "native.h"

/* --- what is asked for --- */

#define IS(text) (length == sizeof(text) - 1 && memcmp(name, text, sizeof(text) - 1) == 0)

int asks_for_page(PyObject *headers, PyObject **language)
{
    int told = 0;
    *language = NULL;
    for (Py_ssize_t i = 0; i < Py_SIZE(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i); /* borrowed, as is all that follows */
        PyObject *key = PyTuple_CheckExact(pair) && Py_SIZE(pair) == 2 ? PyTuple_GetItem(pair, 0) : NULL;
        if (key == NULL || !PyBytes_CheckExact(key) || !PyBytes_CheckExact(PyTuple_GetItem(pair, 1)))
            return 0;
        size_t length = (size_t)Py_SIZE(key);
        if (length < 10 || length > 16)
            continue;
        const char *name = PyBytes_AsString(key);
        if (IS("accept-language")) {
            if (*language != NULL)
                return 0;
            *language = PyTuple_GetItem(pair, 1);
        } else if (IS("sec-fetch-dest")) {
            PyObject *value = PyTuple_GetItem(pair, 1);
            if (told++ || Py_SIZE(value) != 8 || memcmp(PyBytes_AsString(value), "document", 8) != 0)
                return 0;
        } else if (IS("hx-request") || IS("turbo-frame") || IS("x-up-version") || IS("x-requested-with") ||
                   IS("consent-report")) {
            return 0;
        }
    }
    return told ? ASKS_FOR_PAGE | SAYS_SO : ASKS_FOR_PAGE;
}

/* --- the header fields --- */

int is_unread_page(PyObject *headers, PyObject *types, PyObject **last_type, PyObject *plain_names)
{
    int typed = 0;
    for (Py_ssize_t i = 0; i < Py_SIZE(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i); /* borrowed, as is all that follows */
        PyObject *key = PyTuple_CheckExact(pair) && Py_SIZE(pair) == 2 ? PyTuple_GetItem(pair, 0) : NULL;
        if (key == NULL || !PyBytes_CheckExact(key))
            return 0;
        const char *name = PyBytes_AsString(key);
        size_t length = (size_t)Py_SIZE(key);
        if (IS("content-type")) {
            PyObject *value = PyTuple_GetItem(pair, 1);
            if (typed++ || !PyBytes_CheckExact(value) || is_member(types, value, last_type) != 1)
                return 0;
        } else if (!IS("content-length") && PySet_Contains(plain_names, key) != 1) {
            return 0;
        }
    }
    return typed;
}

PyObject *page_fields(PyObject *headers, PyObject *added, Py_ssize_t size)
{
    PyObject *fields = PyList_New(0);
    if (fields == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < Py_SIZE(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i), *key = PyTuple_GetItem(pair, 0); /* borrowed */
        const char *name = PyBytes_AsString(key);
        size_t length = (size_t)Py_SIZE(key);
        if (!IS("content-length") && PyList_Append(fields, pair) < 0)
            goto failed;
    }
    for (Py_ssize_t i = 0; i < Py_SIZE(added); i++)
        if (PyList_Append(fields, PyTuple_GetItem(added, i)) < 0)
            goto failed;
    PyObject *last = Py_BuildValue("yN", "content-length", PyBytes_FromFormat("%zd", size));
    if (last != NULL && PyList_Append(fields, last) == 0) {
        Py_DECREF(last);
        return fields;
    }
    Py_XDECREF(last);
failed:
    Py_DECREF(fields);
    return NULL;
}

/* --- the page's own address, as it stands in an attribute --- */

static int is_plain_in_path(unsigned char byte)
{
    return is_a(LETTER | DIGIT, byte) || (byte != 0 && strchr("_.-~/:@!$()*+,;=", byte) != NULL);
}

static const char *escape(unsigned char byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&#34;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

PyObject *escaped_address(PyObject *path, PyObject *raw, PyObject *query)
{
    Py_ssize_t length, asked = 0;
    const char *text = path && PyUnicode_CheckExact(path) ? PyUnicode_AsUTF8AndSize(path, &length) : NULL;
    if (text == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < length; i++)
        if (!is_plain_in_path((unsigned char)text[i]))
            return NULL;
    if (raw != NULL && raw != Py_None &&
        (!PyBytes_CheckExact(raw) ||
         (Py_SIZE(raw) != 0 && (Py_SIZE(raw) != length || memcmp(PyBytes_AsString(raw), text, (size_t)length) != 0))))
        return NULL;
    const char *at = NULL, *end = NULL;
    if (query != NULL) {
        if (!PyBytes_CheckExact(query))
            return NULL;
        at = PyBytes_AsString(query);
        end = at + Py_SIZE(query);
        for (const char *byte = at; byte < end; byte++) {
            if ((unsigned char)*byte > 127)
                return NULL;
            const char *reference = escape((unsigned char)*byte);
            asked += reference ? (Py_ssize_t)strlen(reference) : 1;
        }
    }
    PyObject *address = PyBytes_FromStringAndSize(NULL, length + (asked ? 1 + asked : 0));
    if (address == NULL)
        return NULL;
    char *target = PyBytes_AsString(address);
    memcpy(target, text, (size_t)length);
    target += length;
    if (asked)
        *target++ = '?';
    for (; at < end; at++) {
        const char *reference = escape((unsigned char)*at);
        if (reference == NULL) {
            *target++ = *at;
            continue;
        }
        size_t size = strlen(reference);
        memcpy(target, reference, size);
        target += size;
    }
    return address;
}

/* --- the body --- */

#define LONGEST_TAIL 4096
#define STEP 64 /* so that compilers make one loop without branches of it */

static int may_have_base(Bytes at, Bytes end)
{
    for (; end - at > STEP + 2; at += STEP) {
        unsigned char any = 0;
        for (int i = 0; i < STEP; i++)
            any |= (at[i] == '<') & ((at[i + 1] | 32) == 'b') & ((at[i + 2] | 32) == 'a');
        if (any && find_named(at, end - at > STEP + 6 ? at + STEP + 6 : end, "base", 4) != NULL)
            return 1;
    }
    return find_named(at, end, "base", 4) != NULL;
}

/* Behind the ">" of an end tag without anything odd in it, from behind its name on; NULL where it is none. */
static Bytes end_of_tag(Bytes at, Bytes end)
{
    while (at < end && *at != '<' && *at != '>')
        at++;
    return at < end && *at == '>' ? at + 1 : NULL;
}

/* Where the final "</body>" begins, with nothing behind it that shows; NULL: look closer. */
static Bytes final_end_of_body(Bytes page, Bytes end)
{
    Bytes first = end - page > LONGEST_TAIL ? end - LONGEST_TAIL : page, found = NULL;
    for (Bytes at = end - 5; at > first && found == NULL; at--)
        if (at[-1] == '<' && (memcmp(at, "/body", 5) == 0 || memcmp(at, "/BODY", 5) == 0))
            found = at - 1;
    Bytes at = found ? end_of_tag(found + 6, end) : NULL;
    while (at != NULL && at < end) {
        if (is_a(SPACE, *at))
            at++;
        else
            at = begins_with(at, end, "</html") ? end_of_tag(at + 6, end) : NULL;
    }
    return at ? found : NULL;
}

PyObject *with_insertion(PyObject *body, PyObject *pieces, PyObject *address)
{
    Bytes page = (Bytes)PyBytes_AsString(body), end = page + Py_SIZE(body);
    /* A mark at the beginning may say that the page is in another encoding. */
    if (end - page < 6 || page[0] >= 0x80)
        return NULL;
    Bytes place = final_end_of_body(page, end);
    if (place == NULL || may_have_base(page, end))
        return NULL;
    Py_ssize_t size = Py_SIZE(body), count = Py_SIZE(pieces);
    for (Py_ssize_t i = 0; i < count; i++)
        size += Py_SIZE(PyTuple_GetItem(pieces, i)) + (i ? Py_SIZE(address) : 0);
    PyObject *made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL)
        return NULL;
    char *target = PyBytes_AsString(made);
    memcpy(target, page, (size_t)(place - page));
    target += place - page;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i) {
            memcpy(target, PyBytes_AsString(address), (size_t)Py_SIZE(address));
            target += Py_SIZE(address);
        }
        PyObject *piece = PyTuple_GetItem(pieces, i);
        memcpy(target, PyBytes_AsString(piece), (size_t)Py_SIZE(piece));
        target += Py_SIZE(piece);
    }
    memcpy(target, place, (size_t)(end - place));
    return made;
}
