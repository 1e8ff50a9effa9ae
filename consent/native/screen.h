/* What the parts of the screen share. */
#ifndef CONSENT_SCREEN_H
#define CONSENT_SCREEN_H

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
    RUNS = 2048,       /* it may run scripts, or hold none that is put in */
    NAMES = 4096,      /* by its name it may take the place of what the document has by itself */
};

enum { CODE_TYPE = 1, URLS_TYPE = 2 };

#define MOST_ATTRIBUTES 64
#define MOST_UNCLASSIFIED 16
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
    PyObject *unclassified; /* list */
    Py_ssize_t longest;  /* that an element which is read as a whole may be */
    int reading;
    int drawing; /* the tag at hand is one of SVG */
} Pass;

/* What the attributes of one tag told. */
typedef struct {
    struct { Bytes value, end; int reader; } unclassified[MOST_UNCLASSIFIED];
    int count;
    uint64_t counted; /* attributes by number: of each name the first counts that is not empty */
    int needs_look; /* if the gate is open */
    int gate_open;
    int is_data;    /* a script that does not run */
    int has_type;
    int self_closing;
} Told;

/* --- tags (screen_tags.c) --- */

/* What a tag of that name is to the rewriter; NULL: nothing. */
const Tag *tag_named(const PageScreen *screen, Bytes name, Bytes name_end);
/* Pass a start tag from behind its name on. */
int tag_clears(Pass *pass, const Tag *tag, Bytes *position, Bytes end, Told *told);
/* Pass the rest of an end tag, from behind its name on. */
int end_tag_passes(Bytes *position, Bytes end);
int sheet_clears(Pass *pass, Bytes sheet, Bytes end);

/* --- elements (screen_elements.c) --- */

/* Return the next place that needs a look, or "end"; NULL with an exception. */
Bytes skip_markup(Pass *pass, Bytes at, Bytes end);

#endif
