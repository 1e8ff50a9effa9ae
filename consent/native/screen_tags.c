/* What the attributes of a tag tell: whether anybody has to be asked about it. */
#include "screen.h"

const Tag *tag_named(const PageScreen *screen, Bytes name, Bytes name_end)
{
    const Slot *slot = table_find_folded(&screen->by_name, name, (size_t)(name_end - name));
    return slot ? &screen->tags[slot->value] : NULL;
}

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
    for (; at < end; at++)
        if (*at == '(' || *at == '\\' || *at == '&' || (*at == '-' && end - at > 1 && at[1] == '-'))
            return 1;
    return 0;
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
    if (outcome == LOOK || (outcome == UNCLASSIFIED && told->count == MOST_UNCLASSIFIED)) {
        told->needs_look = 1;
    } else if (outcome == UNCLASSIFIED) {
        told->unclassified[told->count].value = at;
        told->unclassified[told->count].reader = reader;
        told->unclassified[told->count++].end = end;
    }
    return outcome == FAILED ? FAILED : CLEAR;
}

static int is_blank(Bytes at, Bytes end)
{
    while (at < end && is_a(SPACE, *at))
        at++;
    return at == end;
}

static int ends_a_type(unsigned char byte)
{
    return is_a(LETTER, byte) || (byte >= '0' && byte <= '9');
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
    /* Browsers differ in what is blank around a type. */
    told->needs_look |= told->is_data && (value == end || !ends_a_type(*value) || !ends_a_type(end[-1]));
    told->needs_look |= (slot && slot->value == URLS_TYPE) || memchr(value, '&', (size_t)(end - value)) != NULL;
}

/* Whether it may be an address that is a script, or rule over scripts. */
static int could_rule(Bytes name, size_t length, Bytes value, Bytes end)
{
    if (value == NULL || value == end)
        return 0;
    if (*value <= ' ' || *value == '&' || lower[*value] == 'j')
        return 1;
    return length == 10 && is_word(name, name + length, "http-equiv");
}

static int read_attribute(Pass *pass, const Tag *tag, const Attribute *attribute, Told *told)
{
    const PageScreen *screen = pass->screen;
    Bytes name = attribute->name, value = attribute->value, end = attribute->value_end;
    size_t length = (size_t)(attribute->name_end - name);
    if (length > 1 && lower[name[0]] == 'o' && lower[name[1]] == 'n')
        return !(pass->reading & (BEFORE_HEAD | BEFORE_RUNNING)) && handler_clears(pass, value, end) ? CLEAR : LOOK;
    if (pass->reading & (BEFORE_HEAD | BEFORE_RUNNING) && could_rule(name, length, value, end))
        return LOOK;
    if (pass->reading & BEFORE_RUNNING && tag && tag->flags & NAMES && is_word(name, name + length, "name"))
        return LOOK;
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
        return outcome == UNCLASSIFIED ? LOOK : outcome;
    }
    return CLEAR;
}

/* Note the unclassified of a tag that is passed, or of a style sheet: from now on they are settled. */
static int note_all_unclassified(Pass *pass, const Told *told, Bytes sheet, Bytes sheet_end)
{
    if (PySet_Size(pass->page.settled) >= MOST_SETTLED)
        return LOOK;
    pass->page.unclassified = pass->unclassified;
    int outcome = sheet ? style_outcome(&pass->page, sheet, sheet_end, 0) : CLEAR;
    for (int i = 0; told && i < told->count && outcome != FAILED; i++)
        outcome = urls_outcome(pass, told->unclassified[i].reader, told->unclassified[i].value, told->unclassified[i].end);
    pass->page.unclassified = NULL;
    return outcome == FAILED ? FAILED : CLEAR;
}

int sheet_clears(Pass *pass, Bytes sheet, Bytes end)
{
    int outcome = style_outcome(&pass->page, sheet, end, 0);
    return outcome == UNCLASSIFIED ? note_all_unclassified(pass, NULL, sheet, end) : outcome;
}

int tag_clears(Pass *pass, const Tag *tag, Bytes *position, Bytes end, Told *told)
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
            return told->count ? note_all_unclassified(pass, told, NULL, NULL) : CLEAR;
        }
        last = attribute.end;
        int outcome = read_attribute(pass, tag, &attribute, told);
        if (outcome <= LOOK)
            return outcome;
    }
}

int end_tag_passes(Bytes *position, Bytes end)
{
    Attribute attribute;
    int outcome;
    while ((outcome = next_attribute(position, end, &attribute)) == ATTRIBUTE)
        ;
    return outcome == END_OF_TAG;
}
