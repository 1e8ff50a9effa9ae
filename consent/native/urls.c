/* Where the plain majority of URLs leads (WHATWG URL Standard, section 4.4); what is odd needs a look. */
#include "native.h"

/* Whether the page's set has the key: 1 or 0, -1 with an exception. */
static int is_settled(Page *page, const unsigned char *key, size_t length)
{
    PyObject *name = PyBytes_FromStringAndSize((const char *)key, (Py_ssize_t)length);
    if (name == NULL)
        return -1;
    int found = PySet_Contains(page->settled, name);
    Py_DECREF(name);
    return found;
}

/* Note a URL: what its key stands for is settled from now on. */
static int note_unclassified(Page *page, const unsigned char *key, size_t length, size_t host, Bytes rest, Bytes end)
{
    size_t before = page->kind_length + 1;
    PyObject *name = PyBytes_FromStringAndSize((const char *)key, (Py_ssize_t)length);
    PyObject *entry = name == NULL ? NULL : Py_BuildValue(
        "(y#y#y#)", (const char *)key, (Py_ssize_t)page->kind_length, (const char *)key + before,
        (Py_ssize_t)host, (const char *)rest, (Py_ssize_t)(end - rest));
    int failed = entry == NULL || PySet_Add(page->settled, name) < 0 || PyList_Append(page->unclassified, entry) < 0;
    Py_XDECREF(name);
    Py_XDECREF(entry);
    return failed ? FAILED : UNCLASSIFIED;
}

static int outcome_of(Page *page, const unsigned char *host, size_t length, Bytes rest, Bytes end)
{
    unsigned char key[LONGEST_KEY];
    size_t before = page->kind_length + 1, whole = before + length;
    if (page->kind_length > LONGEST_NAME || may_be_ruled(page->rules, rest, end))
        return LOOK;
    memcpy(key, page->kind, page->kind_length);
    key[page->kind_length] = 0;
    memcpy(key + before, host, length);
    if (whole == page->last_length && memcmp(key, page->last, whole) == 0)
        return CLEAR;
    int settled = is_settled(page, key + before, length);
    if (settled == 0)
        settled = is_settled(page, key, whole);
    if (settled < 0)
        return FAILED;
    if (settled) {
        memcpy(page->last, key, whole);
        page->last_length = whole;
        return CLEAR;
    }
    int by_path;
    int32_t owner = url_owner(page->rules, host, length, rest, end, &by_path);
    if (owner == UNCERTAIN)
        return LOOK;
    Py_ssize_t answer = owner == NOBODYS ? page->vendors - 1 : owner;
    if (answer < 0 || answer >= page->vendors || !page->allowed[answer])
        return LOOK;
    if (by_path) {
        key[whole++] = 0;
        for (int byte = 0; owner >= 0 && byte < 4; byte++)
            key[whole++] = (unsigned char)((uint32_t)owner >> 8 * byte);
        settled = is_settled(page, key, whole);
        if (settled)
            return settled < 0 ? FAILED : CLEAR;
    }
    return page->unclassified ? note_unclassified(page, key, whole, length, rest, end) : UNCLASSIFIED;
}

int host_outcome(Page *page, Bytes *position, Bytes end)
{
    unsigned char host[LONGEST_NAME];
    size_t length = 0;
    Bytes at = *position;
    while (at < end && is_a(HOST, *at)) {
        if (length == 253)
            return LOOK;
        host[length++] = lower[*at++];
    }
    while (length && host[length - 1] == '.')
        length--;
    if (at < end && *at == ':')
        do
            at++;
        while (at < end && is_a(DIGIT, *at));
    /* Whatever else may stand in a host, or is dropped from it. */
    if (length == 0 || (at < end && *at != '/' && *at != '?' && *at != '#'))
        return LOOK;
    *position = at;
    return outcome_of(page, host, length, at, end);
}

static int relative_outcome(const Page *page, Bytes at, Bytes end)
{
    if (!page->at_home)
        return LOOK;
    if (*at == '#')
        return CLEAR;
    Bytes behind = at;
    if (*at == '/') {
        if (end - at > 1 && !is_a(RELATIVE, at[1]) && at[1] != '?' && at[1] != '#')
            return LOOK;
    } else {
        while (behind < end && is_a(RELATIVE, *behind))
            behind++;
        if (behind < end && (behind == at || (*behind != '/' && *behind != '?' && *behind != '#')))
            return LOOK;
    }
    return may_be_ruled(page->rules, at, end) ? LOOK : CLEAR;
}

/* Whether what follows "data:" is for certain no style sheet. */
static int holds_no_sheet(Bytes at, Bytes end)
{
    return begins_with(at, end, "image/") || begins_with(at, end, "font/") || begins_with(at, end, "application/");
}

int url_outcome(Page *page, Bytes at, Bytes end)
{
    while (at < end && *at <= ' ')
        at++;
    while (at < end && end[-1] <= ' ')
        end--;
    if (at == end)
        return CLEAR;
    if (*at == '/' && end - at > 1 && at[1] == '/')
        at += 2;
    else if (begins_with(at, end, "https://"))
        at += 8;
    else if (begins_with(at, end, "http://"))
        at += 7;
    else if (begins_with(at, end, "about:") || begins_with(at, end, "blob:"))
        return CLEAR;
    else if (begins_with(at, end, "data:"))
        return page->runs_data || (page->may_import && !holds_no_sheet(at + 5, end)) ? LOOK : CLEAR;
    else
        return relative_outcome(page, at, end);
    return host_outcome(page, &at, end);
}

int srcset_outcome(Page *page, Bytes at, Bytes end)
{
    int worst = CLEAR;
    for (Bytes reference = at; (reference = memchr(reference, '&', (size_t)(end - reference))); reference++)
        if (!begins_with(reference, end, "&amp;"))
            return LOOK;
    while (at < end) {
        while (at < end && (is_a(SPACE, *at) || *at == ','))
            at++;
        Bytes url = at;
        while (at < end && !is_a(SPACE, *at))
            at++;
        Bytes url_end = at;
        while (url_end > url && url_end[-1] == ',')
            url_end--;
        int outcome = url < url_end ? url_outcome(page, url, url_end) : CLEAR;
        if (outcome <= LOOK)
            return outcome;
        if (outcome == UNCLASSIFIED)
            worst = UNCLASSIFIED;
        /* Descriptors end with a comma that is not in parentheses. */
        if (url_end == at)
            for (int inside = 0; at < end && (inside || *at != ','); at++)
                inside = *at == '(' ? 1 : *at == ')' ? 0 : inside;
    }
    return worst;
}

Bytes decode_references(Bytes at, Bytes end, unsigned char *target)
{
    static const struct { const char *name; unsigned char byte; } known[] = {
        {"amp;", '&'}, {"quot;", '"'}, {"#39;", '\''}, {"#x27;", '\''}, {"apos;", '\''}, {"#34;", '"'},
        {"lt;", '<'}, {"gt;", '>'}, {"nbsp;", 0xA0}, {NULL, 0},
    };
    while (at < end) {
        if (*at != '&') {
            *target++ = *at++;
            continue;
        }
        size_t i = 0;
        at++;
        while (known[i].name && ((size_t)(end - at) < strlen(known[i].name) ||
                                 memcmp(at, known[i].name, strlen(known[i].name)) != 0))
            i++;
        if (known[i].name == NULL)
            return NULL;
        at += strlen(known[i].name);
        *target++ = known[i].byte;
    }
    return target;
}
