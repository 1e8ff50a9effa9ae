/* Pages in which nobody has to be asked about anything: read by the screen alone, with what is put into each page.
 *
 * Whatever stops the screen but the three places where something is put in leaves the page to Python, which reads it from
 * its beginning.
 */
#include "native.h"

/* --- what is asked --- */

PyObject *own_host(PyObject *headers)
{
    PyObject *host = NULL; /* borrowed */
    for (Py_ssize_t i = 0; i < Py_SIZE(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i); /* what the app has made of them since they were looked at */
        PyObject *key = PyTuple_CheckExact(pair) && Py_SIZE(pair) == 2 ? PyTuple_GetItem(pair, 0) : NULL;
        if (key == NULL || !PyBytes_CheckExact(key))
            return NULL;
        if (Py_SIZE(key) != 4 || memcmp(PyBytes_AsString(key), "host", 4) != 0)
            continue;
        if (host != NULL || !PyBytes_CheckExact(PyTuple_GetItem(pair, 1)))
            return NULL;
        host = PyTuple_GetItem(pair, 1);
    }
    if (host == NULL)
        return NULL;
    unsigned char name[253];
    size_t length = 0;
    Bytes at = (Bytes)PyBytes_AsString(host), end = at + Py_SIZE(host);
    for (; at < end && is_a(HOST, *at); at++) {
        if (length == sizeof name)
            return NULL;
        name[length++] = lower[*at];
    }
    while (length && name[length - 1] == '.')
        length--;
    if (at < end && *at == ':')
        do
            at++;
        while (at < end && is_a(DIGIT, *at));
    if (length == 0 || at < end)
        return NULL;
    PyObject *settled = PySet_New(NULL), *text = PyBytes_FromStringAndSize((const char *)name, (Py_ssize_t)length);
    if (settled != NULL && (text == NULL || PySet_Add(settled, text) < 0))
        Py_CLEAR(settled);
    Py_XDECREF(text);
    return settled;
}

static int is_blank_in_cookie(unsigned char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Whether a cookie's name is that of a mark: see consent.refusal_mark. */
static int is_mark(Bytes name, Bytes end, PyObject *stem)
{
    if (end - name != Py_SIZE(stem) + 9 || memcmp(name, PyBytes_AsString(stem), (size_t)Py_SIZE(stem)) != 0 ||
        end[-9] != '_')
        return 0;
    for (name = end - 8; name < end && (is_a(DIGIT, *name) || (*name >= 'a' && *name <= 'f')); name++)
        ;
    return name == end;
}

int has_only_cookies(PyObject *headers, PyObject *harmless, PyObject *mark)
{
    for (Py_ssize_t i = 0; i < Py_SIZE(headers); i++) {
        PyObject *pair = PyList_GetItem(headers, i), *key = PyTuple_GetItem(pair, 0); /* as asks_for_page has seen */
        if (Py_SIZE(key) != 6 || memcmp(PyBytes_AsString(key), "cookie", 6) != 0)
            continue;
        PyObject *line = PyTuple_GetItem(pair, 1);
        Bytes at = (Bytes)PyBytes_AsString(line), end = at + Py_SIZE(line);
        while (at < end) {
            Bytes last = memchr(at, ';', (size_t)(end - at)), next = last ? last + 1 : end;
            last = last ? last : end;
            Bytes name_end = memchr(at, '=', (size_t)(last - at));
            name_end = name_end ? name_end : last;
            while (at < name_end && is_blank_in_cookie(*at))
                at++;
            while (name_end > at && is_blank_in_cookie(name_end[-1]))
                name_end--;
            if (!is_mark(at, name_end, mark)) {
                PyObject *name = PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)(name_end - at));
                int known = name ? PySet_Contains(harmless, name) : -1;
                Py_XDECREF(name);
                if (known != 1)
                    return 0;
            }
            at = next;
        }
    }
    return 1;
}

/* --- the page --- */

/* Whether a tag is that of a script that runs as soon as it is read, by what it says and what it does not. */
static int runs_at_once(Bytes at, Bytes end)
{
    Attribute attribute;
    if (!begins_with(at, end, "<script") || end - at < 8 || !is_a(ENDS_NAME, at[7]))
        return 0;
    int outcome;
    for (at += 7; (outcome = next_attribute(&at, end, &attribute)) == ATTRIBUTE;)
        if (is_word(attribute.name, attribute.name_end, "type") || is_word(attribute.name, attribute.name_end, "language") ||
            is_word(attribute.name, attribute.name_end, "async") || is_word(attribute.name, attribute.name_end, "defer") ||
            is_word(attribute.name, attribute.name_end, "nomodule"))
            return 0;
    return outcome == END_OF_TAG;
}

static int is_tag(Bytes at, Bytes end, const char *tag)
{
    return at != NULL && begins_with(at, end, tag);
}

/* Find the places where something is put in; 0 where the page is left to Python, perhaps with an exception. */
static int find_places(Screening *screening, Bytes page, Bytes end, int awaits_running, Bytes *head, Bytes *running, Bytes *body)
{
    int reading = AT_HOME | SCRIPTING | IS_PAGE;
    Bytes at = screen_page(screening, page, end, reading | BEFORE_HEAD);
    if (!is_tag(at, end, "<head>"))
        return 0;
    *head = at + 6;
    *running = NULL;
    at = screen_page(screening, at, end, awaits_running ? reading | BEFORE_RUNNING : reading);
    if (at != NULL && awaits_running && runs_at_once(at, end)) {
        *running = at;
        awaits_running = 0;
        at = screen_page(screening, at, end, reading);
    }
    if (!is_tag(at, end, "</body>"))
        return 0;
    *body = at;
    at = screen_page(screening, at + 7, end, awaits_running ? reading | BEFORE_RUNNING : reading);
    return at == end;
}

static char *put(char *target, const void *text, size_t length)
{
    memcpy(target, text, length);
    return target + length;
}

static char *put_bytes(char *target, PyObject *bytes)
{
    return put(target, PyBytes_AsString(bytes), (size_t)Py_SIZE(bytes));
}

PyObject *cleared_page(PyObject *body, Screening *screening, PyObject *first, PyObject *before_running, PyObject *pieces,
                       PyObject *address)
{
    Bytes page = (Bytes)PyBytes_AsString(body), end = page + Py_SIZE(body), head, running, last;
    int awaits_running = before_running != Py_None;
    /* A mark at the beginning may say that the page is in another encoding. */
    if (end - page < 6 || page[0] >= 0x80 ||
        !find_places(screening, page, end, awaits_running, &head, &running, &last))
        return NULL;
    Py_ssize_t size = Py_SIZE(body) + Py_SIZE(first) + (running ? Py_SIZE(before_running) : 0), count = Py_SIZE(pieces);
    for (Py_ssize_t i = 0; i < count; i++)
        size += Py_SIZE(PyTuple_GetItem(pieces, i)) + (i ? Py_SIZE(address) : 0);
    PyObject *made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL)
        return NULL;
    char *target = put_bytes(put(PyBytes_AsString(made), page, (size_t)(head - page)), first);
    if (running != NULL) {
        target = put_bytes(put(target, head, (size_t)(running - head)), before_running);
        head = running;
    }
    target = put(target, head, (size_t)(last - head));
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i)
            target = put_bytes(target, address);
        target = put_bytes(target, PyTuple_GetItem(pieces, i));
    }
    put(target, last, (size_t)(end - last));
    return made;
}
