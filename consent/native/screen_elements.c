/* Elements with their content, drawings, and what stands between them. */
#include "screen.h"

/* --- content --- */

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
        if (told.self_closing && tag->flags & DRAWN_TEXT)
            return LOOK; /* what looks ahead in a browser does not know that it is closed */
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
    if (tag == NULL && **position == '>') {
        ++*position;
        return CLEAR;
    }
    if (tag && (tag->flags & STOPS || (tag->flags & PAGE && !(pass->reading & IS_PAGE))))
        return LOOK;
    if (tag && pass->reading & BEFORE_HEAD && !is_word(name, *position, "html"))
        return LOOK;
    if (tag && tag->flags & RUNS && pass->reading & BEFORE_RUNNING)
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

Bytes skip_markup(Pass *pass, Bytes at, Bytes end)
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
            if (at == end || (tag && tag->flags & ENDS_STOP))
                return start;
            if (*at == '>') /* most have nothing behind their name */
                at++;
            else if (!end_tag_passes(&at, end))
                return start;
        } else if (*at == '!') {
            if (end - at > 2 && at[1] == '-' && at[2] == '-')
                at = comment_end(at + 3, end);
            else if (end - at > 2 && is_a(LETTER, at[1])) /* a DOCTYPE, or a comment that is not written as one */
                at = (at = memchr(at, '>', (size_t)(end - at))) ? at + 1 : NULL;
            else
                at = NULL;
            outcome = at ? CLEAR : LOOK;
        } else if (*at == '?') {
            return start;
        }
        if (outcome != CLEAR)
            return outcome == FAILED ? NULL : start;
    }
    return end;
}
