/* What the parts of consent._speedups share. For CPython's stable ABI.
 *
 * Nothing in here decides what is refused: it finds where Python has to look, or tells that it has not to.
 * Every function that reads a page is given where the bytes end, reads each of them a bounded number of times,
 * and errs towards "look".
 */
#ifndef CONSENT_NATIVE_H
#define CONSENT_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

typedef const unsigned char *Bytes; /* a place in a page, or where it ends */

/* --- classes of bytes (bytes.c) --- */

enum {
    LETTER = 1,
    DIGIT = 2,
    WORD = 4,             /* of an identifier in a script: letters, digits, "_", "$" */
    HOST = 8,             /* letters, digits, ".", "-" */
    SPACE = 16,           /* as HTML means it: tab, line feed, form feed, carriage return, space */
    ENDS_NAME = 32,       /* of a tag: white space, "/", ">" */
    ENDS_ATTRIBUTE = 64,  /* the name of one: the same and "=" */
    STYLE_TURN = 256,     /* what matters in a style sheet outside of names */
    STYLE_BEGIN = 2048,   /* ... outside of functions and imports, too */
    STYLE_URL_END = 1024, /* what cannot stand in a URL without quotation marks, or only as an escape */
    STYLE_LEADS = 8192,   /* what a string has one of that leads somewhere */
    SCRIPT_TURN = 512,    /* what may begin a string, a comment or a regular expression in a script, or end one */
    RELATIVE = 128,       /* what may begin a relative URL, and cannot be part of a scheme's end or of a host */
};

extern uint16_t byte_class[256];
extern unsigned char lower[256];
extern unsigned char word_byte[256]; /* itself, or a blank for what is no part of an identifier in a script */
void prepare_bytes(void);

static inline int is_a(int class, unsigned char byte)
{
    return byte_class[byte] & class;
}

/* Whether the text ends with the word, in any case; the word is in lower case. */
int ends_with(Bytes start, Bytes end, const char *word);
/* Whether the text is the word, in any case. */
int is_word(Bytes start, Bytes end, const char *word);
/* Whether the text begins with the word, in any case. */
int begins_with(Bytes start, Bytes end, const char *word);

/* --- tables of names (bytes.c) --- */

#define LONGEST_NAME 255

typedef struct {
    unsigned char *text; /* NULL: free */
    uint32_t hash;
    uint32_t length;
    uint32_t value;
} Slot;

typedef struct {
    Slot *slots; /* open addressing, a quarter full at most */
    uint32_t mask;
    /* By first and by last byte: bit n is set where a name of n bytes begins or ends so, 63: or longer. */
    uint64_t first[256], last[256];
} Table;

/* The hash of a name is made from its end, so that one pass gives those of all the domains above a host. */
#define HASH_START 2166136261u
static inline uint32_t hash_step(uint32_t hash, unsigned char byte)
{
    return (hash ^ byte) * 16777619u;
}
int table_prepare(Table *table, Py_ssize_t count);                              /* -1 with an exception */
int table_add(Table *table, const char *text, Py_ssize_t length, uint32_t value); /* likewise */
void table_free(Table *table);
const Slot *table_find_hashed(const Table *table, Bytes text, size_t length, uint32_t hash);
const Slot *table_find(const Table *table, Bytes text, size_t length);
const Slot *table_find_likely(const Table *table, Bytes text, size_t length);
static inline uint64_t length_bit(size_t length)
{
    return (uint64_t)1 << (length < 63 ? length : 63);
}
/* Whether a name of that length begins and ends so. */
static inline int may_be_name(const Table *table, unsigned char first, unsigned char last, size_t length)
{
    return length <= LONGEST_NAME && table->first[first] & table->last[last] & length_bit(length);
}
/* The name is folded to lower case first. Most are in no table: that is told without a call. */
static inline const Slot *table_find_folded(const Table *table, Bytes text, size_t length)
{
    if (length < 1 || !may_be_name(table, lower[text[0]], lower[text[length - 1]], length))
        return NULL;
    return table_find_likely(table, text, length);
}

/* --- Evidence: what the catalog knows scripts and hosts by (evidence.c) --- */

typedef struct Evidence Evidence;
extern PyType_Spec evidence_spec;
/* The object as one of ours, or NULL with an exception. */
Evidence *as_evidence(PyObject *object);
/* Whether nothing in the script can be a vendor's snippet, or load a known URL. */
int clears_script(const Evidence *evidence, Bytes text, Bytes end);

/* --- UrlRules: whose a URL is (rules.c) --- */

typedef struct UrlRules UrlRules;
extern PyType_Spec url_rules_spec;
/* The object as one of ours, or NULL with an exception. */
UrlRules *as_url_rules(PyObject *object);

enum { NOBODYS = -1, UNCERTAIN = -2 };

/* The number of the vendor that a rule gives a URL to, by its host, in lower case, and all that is behind it, or one of
 * these; and whether there are rules for paths on that host. */
int32_t url_owner(const UrlRules *rules, Bytes host, size_t length, Bytes rest, Bytes end, int *by_path);
/* Whether a rule for the paths of whatever host may be about a URL, by what is behind its host, or by a reference to the
 * page's own. */
int may_be_ruled(const UrlRules *rules, Bytes rest, Bytes end);

/* --- strings and comments of scripts (literals.c) --- */

PyObject *literals(PyObject *module, PyObject *argument);

/* --- tags (tags.c) --- */

typedef struct {
    Bytes name, name_end;
    Bytes value, value_end; /* NULL: the attribute has no value */
    Bytes end;              /* behind the value and its closing quotation mark */
} Attribute;

enum { INCOMPLETE, ATTRIBUTE, END_OF_TAG };

/* Read one attribute, or the ">" of the tag, from *position on, and move it behind. A page has thousands. */
static inline int next_attribute(Bytes *position, Bytes end, Attribute *attribute)
{
    Bytes at = *position;
    while (at < end && (is_a(SPACE, *at) || *at == '/'))
        at++;
    if (at == end)
        return INCOMPLETE;
    if (*at == '>') {
        *position = at + 1;
        return END_OF_TAG;
    }
    attribute->name = at++; /* even a "=" begins a name here */
    while (at < end && !is_a(ENDS_ATTRIBUTE, *at))
        at++;
    attribute->name_end = attribute->end = at;
    attribute->value = attribute->value_end = NULL;
    while (at < end && is_a(SPACE, *at))
        at++;
    if (at == end)
        return INCOMPLETE;
    if (*at == '=') {
        at++;
        while (at < end && is_a(SPACE, *at))
            at++;
        if (at == end)
            return INCOMPLETE;
        if (*at == '"' || *at == '\'') {
            attribute->value = at + 1;
            at = memchr(at + 1, *at, (size_t)(end - at - 1));
            if (at == NULL)
                return INCOMPLETE;
            attribute->value_end = at++;
        } else if (*at != '>') {
            attribute->value = at;
            while (at < end && !is_a(SPACE, *at) && *at != '>')
                at++;
            if (at == end)
                return INCOMPLETE;
            attribute->value_end = at;
        }
        attribute->end = at;
    }
    *position = at;
    return ATTRIBUTE;
}
/* Where the next tag of a name begins, wherever it stands; "/" begins that of an end tag. NULL: it is not there. */
Bytes find_named(Bytes at, Bytes end, const char *name, size_t length);
/* Behind a comment, from behind its "<!--" on; NULL where it is not complete. */
Bytes comment_end(Bytes at, Bytes end);
PyObject *start_tag(PyObject *module, PyObject *args);
PyObject *find_tag(PyObject *module, PyObject *args);

#define LONGEST_REFERENCING 4096 /* an attribute that holds code or styles, with character references in it */

/* --- URLs and styles (urls.c, styles.c) --- */

#define LONGEST_KEY (2 * LONGEST_NAME + 8)

typedef struct {
    PyObject *settled;       /* set of bytes: what nobody has to be asked about again; see url_outcome */
    PyObject *unclassified;     /* list to note URLs in that are nobody's, or allowed; or NULL: they are only told */
    const UrlRules *rules;
    const char *allowed;     /* by the numbers of vendors: whether they are; then whether what is nobody's is */
    Py_ssize_t vendors;
    int at_home;             /* relative URLs lead to the page's own host */
    Bytes kind;              /* the element's name, in lower case */
    size_t kind_length;
    int runs_data;           /* the element shows or runs what a "data:" URL holds; or: */
    int may_import;          /* it is a style sheet, to which it may be another */
    unsigned char last[LONGEST_KEY]; /* the key that was found last */
    size_t last_length;
} Page;

enum { FAILED = -1, LOOK = 0, CLEAR = 1, UNCLASSIFIED = 2 };

/* Where a URL leads: CLEAR for nowhere, home, or to what is settled; UNCLASSIFIED for what nobody has to be asked about, but
 * has to be noted. Settled are a host alone, for every element; with the element's name and NUL before it; and, where
 * paths matter, with NUL and the vendor's number behind it, or only NUL for what is nobody's. */
int url_outcome(Page *page, Bytes at, Bytes end);
int srcset_outcome(Page *page, Bytes at, Bytes end);
/* The outcome for a plain host that begins at *at, which moves behind it and its port. */
int host_outcome(Page *page, Bytes *at, Bytes end);
/* A style sheet, or with references the value of a style attribute. */
int style_outcome(Page *page, Bytes at, Bytes end, int references);
PyObject *style_urls(PyObject *module, PyObject *argument);
/* Write the text with its character references decoded to "target", which has as much room; return where it ends.
 * NULL where one is not of the few frequent ones, of characters that mean nothing in hosts, schemes and names. */
Bytes decode_references(Bytes at, Bytes end, unsigned char *target);

/* --- PageScreen (screen.c) --- */

extern PyType_Spec page_screen_spec;

/* How a page is read; the numbers are known to consent.html.judge. */
enum { AT_HOME = 1, SCRIPTING = 2, IS_PAGE = 4, BEFORE_HEAD = 8, BEFORE_RUNNING = 16 };

typedef struct {
    PyObject *screen;       /* PageScreen */
    PyObject *settled;      /* set: see Page */
    PyObject *unclassified; /* list: see Page */
    const char *allowed;    /* see Page */
    Py_ssize_t vendors, longest;
} Screening;

int is_page_screen(PyObject *object);
/* The next place from "at" on that needs a look, or the end; NULL with an exception. */
Bytes screen_page(const Screening *screening, Bytes at, Bytes end, int reading);

/* --- header fields (fields.c) --- */

extern PyType_Spec field_finder_spec;
/* The name or the value of a field: a new reference. NULL with an exception where the pair is none. */
static inline PyObject *part_of_field(PyObject *pair, Py_ssize_t part)
{
    if (!PyTuple_CheckExact(pair) || part >= Py_SIZE(pair))
        return PySequence_GetItem(pair, part);
    PyObject *found = PyTuple_GetItem(pair, part);
    Py_INCREF(found);
    return found;
}
/* Whether of the fields that the FieldFinder finds in the list "headers" only the wanted one is there, in one line.
 * -1 with an exception. "value" is given a new reference, or NULL, whatever is returned. */
int only_field(PyObject *finder, PyObject *headers, const char *wanted, PyObject **value);

enum { SEEN_SIGNAL = 1, SEEN_CHOICE = 2, SEEN_CHANGES = 4, SEEN_WORKER = 8, SEEN_CODE = 16 };
/* What of the list "headers" needs a closer look; -1 with an exception. "line", borrowed from them, is the one line
 * that may hold the cookie. "last_plain" is for is_member. */
int glance_at(PyObject *headers, PyObject *cookie_name, PyObject *plain_codings, PyObject **last_plain,
              PyObject **line);
/* Whether bytes are in a set; -1 with an exception. "last" owns the member, or NULL, that was met last. */
int is_member(PyObject *set, PyObject *value, PyObject **last);
PyObject *glance(PyObject *module, PyObject *args);

/* --- pages that nothing is refused in (unread.c) --- */

enum { ASKS_FOR_PAGE = 1, SAYS_SO = 2 };
/* Whether a request is for a page of its own, and asks for no more; and whether the browser says that it is. "language",
 * borrowed, is its Accept-Language; NULL without. All pairs are tuples of two bytes then. The function does not raise. */
int asks_for_page(PyObject *headers, PyObject **language);
/* Whether these are the fields of a page in UTF-8 that says nothing else that matters. "last_type" is for is_member. */
int is_unread_page(PyObject *headers, PyObject *types, PyObject **last_type, PyObject *plain_names);
/* The fields, which is_unread_page has seen, with those that are added and the length: a new list. */
PyObject *page_fields(PyObject *headers, PyObject *added, Py_ssize_t size);
/* Path and query as they stand in an attribute: new bytes. NULL, perhaps without an exception, where Python has to write
 * them; "raw" and "query" may be NULL. */
PyObject *escaped_address(PyObject *path, PyObject *raw, PyObject *query);
/* The page with the pieces, a tuple of bytes, before its final "</body>", and the address between each two of them: new
 * bytes. NULL, perhaps without an exception, where the page has to be looked at in Python. */
PyObject *with_insertion(PyObject *body, PyObject *pieces, PyObject *address);

/* --- pages in which nobody has to be asked about anything (cleared.c) --- */

/* What is the page's own, for the screen: a new set. NULL, perhaps without an exception, where Python has to look. */
PyObject *own_host(PyObject *headers);
/* Whether of all the cookies that came only those did whose names are in the set, or are "mark", "_" and eight hexadecimal
 * digits in lower case; the function may leave an exception. */
int has_only_cookies(PyObject *headers, PyObject *harmless, PyObject *mark);
/* The page with what is put in: "first" behind "<head>", "before_running", or None, before the first script that runs as
 * it is read, and the pieces before "</body>", with the address between each two: new bytes. NULL, perhaps without an
 * exception, where the page has to be looked at in Python. */
PyObject *cleared_page(PyObject *body, Screening *screening, PyObject *first, PyObject *before_running, PyObject *pieces,
                       PyObject *address);

/* --- Entrance and WayOut (entrance.c) --- */

extern PyType_Spec entrance_spec, way_out_spec;


#endif
