/* Classes of bytes, and tables of names. */
#include "native.h"

uint16_t byte_class[256];
unsigned char lower[256], word_byte[256];

void prepare_bytes(void)
{
    for (int c = 0; c < 256; c++) {
        int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
        int space = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == ' ';
        int name = space || c == '/' || c == '>';
        lower[c] = (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        word_byte[c] = (unsigned char)(letter || digit || c == '_' || c == '$' ? c : ' ');
        byte_class[c] = (uint16_t)(
            (letter ? LETTER : 0) | (digit ? DIGIT : 0) | (letter || digit || c == '_' || c == '$' ? WORD : 0) |
            (letter || digit || c == '.' || c == '-' ? HOST : 0) | (space ? SPACE : 0) | (name ? ENDS_NAME : 0) |
            (name || c == '=' ? ENDS_ATTRIBUTE : 0) |
            (c && strchr("/\"'()[]\\@;{}", c) ? STYLE_TURN : 0) | (c && strchr("/\"'(\\@", c) ? STYLE_BEGIN : 0) |
            (c && strchr("/\\:?.", c) ? STYLE_LEADS : 0) |
            (c && strchr("\"'`/{}<", c) ? SCRIPT_TURN : 0) |
            (space || (c && strchr("\"'()\\", c)) ? STYLE_URL_END : 0) |
            (letter || digit || (c && strchr("-._~%+=,;@!$'()*", c)) ? RELATIVE : 0));
    }
}

int ends_with(Bytes start, Bytes end, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(end - start) >= length && begins_with(end - length, end, word);
}

int begins_with(Bytes start, Bytes end, const char *word)
{
    for (; *word; word++, start++)
        if (start == end || lower[*start] != (unsigned char)*word)
            return 0;
    return 1;
}

int is_word(Bytes start, Bytes end, const char *word)
{
    return (size_t)(end - start) == strlen(word) && begins_with(start, end, word);
}

static uint32_t hash_of(Bytes text, size_t length)
{
    uint32_t hash = HASH_START;
    while (length--)
        hash = hash_step(hash, text[length]);
    return hash;
}

int table_prepare(Table *table, Py_ssize_t count)
{
    uint32_t size = 16;
    while ((Py_ssize_t)size < count * 4)
        size *= 2;
    table->slots = PyMem_Calloc(size, sizeof(Slot));
    if (table->slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    table->mask = size - 1;
    return 0;
}

int table_add(Table *table, const char *text, Py_ssize_t length, uint32_t value)
{
    if (length < 1 || length > LONGEST_NAME) {
        PyErr_SetString(PyExc_ValueError, "a name has 1 to 255 bytes");
        return -1;
    }
    uint32_t hash = hash_of((Bytes)text, (size_t)length), at = hash & table->mask;
    for (; table->slots[at].text != NULL; at = (at + 1) & table->mask) {
        Slot *slot = &table->slots[at];
        if (slot->length == (uint32_t)length && memcmp(slot->text, text, (size_t)length) == 0)
            return 0;
    }
    unsigned char *copy = PyMem_Malloc((size_t)length);
    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(copy, text, (size_t)length);
    table->slots[at] = (Slot){copy, hash, (uint32_t)length, value};
    table->first[copy[0]] |= length_bit((size_t)length);
    table->last[copy[length - 1]] |= length_bit((size_t)length);
    return 0;
}

void table_free(Table *table)
{
    if (table->slots == NULL)
        return;
    for (uint32_t at = 0; at <= table->mask; at++)
        PyMem_Free(table->slots[at].text);
    PyMem_Free(table->slots);
    table->slots = NULL;
}

const Slot *table_find_hashed(const Table *table, Bytes text, size_t length, uint32_t hash)
{
    for (uint32_t at = hash & table->mask; table->slots[at].text != NULL; at = (at + 1) & table->mask) {
        const Slot *slot = &table->slots[at];
        if (slot->hash == hash && slot->length == length && memcmp(slot->text, text, length) == 0)
            return slot;
    }
    return NULL;
}

const Slot *table_find(const Table *table, Bytes text, size_t length)
{
    if (length < 1 || !may_be_name(table, text[0], text[length - 1], length))
        return NULL;
    return table_find_hashed(table, text, length, hash_of(text, length));
}

const Slot *table_find_likely(const Table *table, Bytes text, size_t length)
{
    unsigned char name[LONGEST_NAME];
    for (size_t i = 0; i < length; i++)
        name[i] = lower[text[i]];
    return table_find_hashed(table, name, length, hash_of(name, length));
}
