/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON text as a tree in an arena, by RFC 8259 and nothing beside it. Takes
 * and refuses what jansson does (a test compares them), at an eighth of its
 * instructions: one pass, no allocation for a single value. */
#include "common/json_internal.h"

#include "common/message.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    VALUES_MAX = 32768, /* of one document */
    NODES = 64,         /* made at once */
    FEW_KEYS = 16       /* compared each with each; more are sorted */
};

static const char NOT_JSON[] = "this is not JSON";

struct parser {
    struct cn_arena *arena;
    const char *begin;
    const char *at;
    const char *end;
    char *out; /* where texts go: a text is no longer than its JSON */
    struct cn_json *nodes;
    size_t node_count;  /* left of nodes */
    size_t value_count; /* of all */
    unsigned depth;
    const char *problem; /* NULL: memory was short */
};

static bool s_value(struct parser *self, struct cn_json *node);

static bool s_fail(struct parser *self, const char *problem)
{
    self->problem = problem;
    return false;
}

static void s_space(struct parser *self)
{
    while (self->at < self->end && (*self->at == ' ' || *self->at == '\n' ||
                                    *self->at == '\t' || *self->at == '\r')) {
        self->at++;
    }
}

static bool s_next(struct parser *self, char c)
{
    if (self->at < self->end && *self->at == c) {
        self->at++;
        return true;
    }
    return false;
}

static struct cn_json *s_node(struct parser *self)
{
    if (self->value_count++ >= VALUES_MAX) {
        (void)s_fail(self, "the JSON has too many values");
        return NULL;
    }
    if (self->node_count == 0) {
        self->nodes = cn_arena_array(self->arena, NODES, sizeof(*self->nodes));
        if (self->nodes == NULL) {
            (void)s_fail(self, NULL);
            return NULL;
        }
        self->node_count = NODES;
    }
    return &self->nodes[NODES - self->node_count--];
}

/* ---- texts ---- */

/* Four hexadecimal digits, or -1. */
static int s_unit(struct parser *self)
{
    int unit = 0;
    if (self->end - self->at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = *self->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static void s_put_utf8(struct parser *self, unsigned c)
{
    if (c < 0x80) {
        *self->out++ = (char)c;
        return;
    }
    if (c < 0x800) {
        *self->out++ = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        *self->out++ = (char)(0xe0 | c >> 12);
        *self->out++ = (char)(0x80 | (c >> 6 & 0x3f));
    } else {
        *self->out++ = (char)(0xf0 | c >> 18);
        *self->out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *self->out++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *self->out++ = (char)(0x80 | (c & 0x3f));
}

/* After "\u": a character, of two units outside the basic plane. */
static bool s_unicode(struct parser *self)
{
    int unit = s_unit(self);
    if (unit <= 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
        return s_fail(self, NOT_JSON);
    }
    unsigned c = (unsigned)unit;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        if (!s_next(self, '\\') || !s_next(self, 'u')) {
            return s_fail(self, NOT_JSON);
        }
        int low = s_unit(self);
        if (low < 0xdc00 || low > 0xdfff) {
            return s_fail(self, NOT_JSON);
        }
        c = 0x10000 + ((unsigned)(unit - 0xd800) << 10) +
            (unsigned)(low - 0xdc00);
    }
    s_put_utf8(self, c);
    return true;
}

/* After the backslash. */
static bool s_escape(struct parser *self)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (self->at == self->end) {
        return s_fail(self, NOT_JSON);
    }
    char c = *self->at++;
    if (c == 'u') {
        return s_unicode(self);
    }
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found == NULL) {
        return s_fail(self, NOT_JSON);
    }
    *self->out++ = to[found - from];
    return true;
}

/* Bytes that stand for themselves, eight at a time. */
static void s_plain(struct parser *self)
{
    const uint64_t ones = 0x0101010101010101U;
    const uint64_t tops = 0x8080808080808080U;
    while ((size_t)(self->end - self->at) >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, self->at, sizeof(word));
        uint64_t quote = word ^ (ones * '"');
        uint64_t slash = word ^ (ones * '\\');
        /* The top bit of a byte that is not ASCII, a control, '"' or '\'. */
        uint64_t hits =
            word | (word - ones * 0x20) | (quote - ones) | (slash - ones);
        if ((hits & tops) != 0) {
            return;
        }
        memcpy(self->out, &word, sizeof(word));
        self->out += sizeof(word);
        self->at += sizeof(word);
    }
}

/* After the opening quote. The text ends with a NUL and has none inside. */
static bool s_text(struct parser *self, const char **ret_text, size_t *ret_size)
{
    char *text = self->out;
    for (;;) {
        s_plain(self);
        if (self->at == self->end) {
            return s_fail(self, NOT_JSON);
        }
        unsigned char c = (unsigned char)*self->at;
        if (c == '"') {
            break;
        }
        if (c == '\\') {
            self->at++;
            if (!s_escape(self)) {
                return false;
            }
        } else if (c >= 0x80) {
            size_t size = cn_utf8_sequence((const uint8_t *)self->at,
                                           (size_t)(self->end - self->at));
            if (size == 0) {
                return s_fail(self, NOT_JSON);
            }
            memcpy(self->out, self->at, size);
            self->out += size;
            self->at += size;
        } else if (c < 0x20) {
            return s_fail(self, NOT_JSON);
        } else {
            *self->out++ = (char)c;
            self->at++;
        }
    }
    self->at++;
    *ret_text = text;
    *ret_size = (size_t)(self->out - text);
    *self->out++ = '\0';
    return true;
}

/* ---- numbers ---- */

static bool s_digits(struct parser *self)
{
    const char *from = self->at;
    while (self->at < self->end && *self->at >= '0' && *self->at <= '9') {
        self->at++;
    }
    return self->at > from;
}

static bool s_integer(const char *from, const char *to, int64_t *ret_number)
{
    bool negative = *from == '-';
    int64_t number = 0;
    for (from += negative; from < to; from++) {
        int digit = *from - '0';
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number)) {
            return false;
        }
    }
    /* Counted down, for there is one more below zero than above. */
    if (!negative && number == INT64_MIN) {
        return false;
    }
    *ret_number = negative ? number : -number;
    return true;
}

static bool s_real(struct parser *self, const char *from, double *ret_number)
{
    size_t size = (size_t)(self->at - from);
    memcpy(self->out, from, size);
    self->out[size] = '\0';
    errno = 0;
    *ret_number = strtod(self->out, NULL);
    return !(errno == ERANGE && isinf(*ret_number));
}

static bool s_number(struct parser *self, struct cn_json *node)
{
    const char *from = self->at;
    bool real = false;
    (void)s_next(self, '-');
    if (!s_next(self, '0') && !s_digits(self)) {
        return s_fail(self, NOT_JSON);
    }
    if (s_next(self, '.')) {
        real = true;
        if (!s_digits(self)) {
            return s_fail(self, NOT_JSON);
        }
    }
    if (s_next(self, 'e') || s_next(self, 'E')) {
        real = true;
        if (!s_next(self, '-')) {
            (void)s_next(self, '+');
        }
        if (!s_digits(self)) {
            return s_fail(self, NOT_JSON);
        }
    }
    if (!real) {
        node->kind = CN_JSON_INTEGER;
        return s_integer(from, self->at, &node->integer) ||
               s_fail(self, NOT_JSON);
    }
    node->kind = CN_JSON_REAL;
    return s_real(self, from, &node->real) || s_fail(self, NOT_JSON);
}

/* ---- objects and lists ---- */

static int s_key_compare(const void *a, const void *b)
{
    const struct cn_json *const *left = a;
    const struct cn_json *const *right = b;
    return strcmp((*left)->key, (*right)->key);
}

/* Has the object a key twice? Many keys are a hostile document's. */
static bool s_keys_sorted(struct parser *self, const struct cn_json *object)
{
    const struct cn_json **all =
        cn_arena_array(self->arena, object->count, sizeof(const void *));
    size_t count = 0;
    if (all == NULL) {
        return s_fail(self, NULL);
    }
    for (const struct cn_json *one = object->first; one != NULL;
         one = one->next) {
        all[count++] = one;
    }
    qsort(all, count, sizeof(const void *), s_key_compare);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(all[i - 1]->key, all[i]->key) == 0) {
            return s_fail(self, "the JSON has a key twice");
        }
    }
    return true;
}

static bool s_key_new(struct parser *self,
                      const struct cn_json *object,
                      const struct cn_json *added)
{
    if (object->count > FEW_KEYS) {
        return true; /* at the end, all at once */
    }
    for (const struct cn_json *one = object->first; one != NULL;
         one = one->next) {
        if (one->key_size == added->key_size &&
            memcmp(one->key, added->key, added->key_size) == 0) {
            return s_fail(self, "the JSON has a key twice");
        }
    }
    return true;
}

static bool s_member(struct parser *self,
                     const struct cn_json *object,
                     struct cn_json *member)
{
    s_space(self);
    if (!s_next(self, '"')) {
        return s_fail(self, NOT_JSON);
    }
    if (!s_text(self, &member->key, &member->key_size) ||
        !s_key_new(self, object, member)) {
        return false;
    }
    s_space(self);
    if (!s_next(self, ':')) {
        return s_fail(self, NOT_JSON);
    }
    return s_value(self, member);
}

/* After the opening bracket; close is the other one. */
static bool s_children(struct parser *self, struct cn_json *node, char close)
{
    struct cn_json **link = &node->first;
    s_space(self);
    if (s_next(self, close)) {
        return true;
    }
    do {
        struct cn_json *child = s_node(self);
        if (child == NULL ||
            !(node->kind == CN_JSON_OBJECT ? s_member(self, node, child)
                                           : s_value(self, child))) {
            return false;
        }
        *link = child;
        link = &child->next;
        node->count++;
        s_space(self);
    } while (s_next(self, ','));
    if (!s_next(self, close)) {
        return s_fail(self, NOT_JSON);
    }
    return node->kind != CN_JSON_OBJECT || node->count <= FEW_KEYS ||
           s_keys_sorted(self, node);
}

static bool s_nested(struct parser *self, struct cn_json *node)
{
    bool is_object = *self->at++ == '{';
    if (self->depth == CN_JSON_DEPTH_MAX) {
        return s_fail(self, "the JSON is too deep");
    }
    self->depth++;
    node->kind = is_object ? CN_JSON_OBJECT : CN_JSON_LIST;
    if (!s_children(self, node, is_object ? '}' : ']')) {
        return false;
    }
    self->depth--;
    return true;
}

static bool s_word(struct parser *self,
                   const char *word,
                   enum cn_json_kind kind,
                   struct cn_json *node)
{
    size_t size = strlen(word);
    if ((size_t)(self->end - self->at) < size ||
        memcmp(self->at, word, size) != 0) {
        return s_fail(self, NOT_JSON);
    }
    self->at += size;
    node->kind = kind;
    return true;
}

/* The recursion ends with CN_JSON_DEPTH_MAX. */
static bool s_value(struct parser *self, struct cn_json *node)
{
    s_space(self);
    if (self->at == self->end) {
        return s_fail(self, NOT_JSON);
    }
    switch (*self->at) {
    case '"':
        self->at++;
        node->kind = CN_JSON_TEXT;
        return s_text(self, &node->text, &node->count);
    case '{':
    case '[':
        return s_nested(self, node);
    case 't':
        return s_word(self, "true", CN_JSON_TRUE, node);
    case 'f':
        return s_word(self, "false", CN_JSON_FALSE, node);
    case 'n':
        return s_word(self, "null", CN_JSON_NULL, node);
    default:
        return s_number(self, node);
    }
}

/* Never a piece of the document: only what and where. */
static enum cn_code s_problem(const struct parser *self, struct cn_err *err)
{
    int line = 1;
    int column = 0;
    if (self->problem == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory to read the JSON");
    }
    for (const char *at = self->begin; at < self->at; at++) {
        column = *at == '\n' ? 0 : column + 1;
        line += *at == '\n';
    }
    return cn_fail(err, CN_MALFORMED, "%s at line %d, column %d", self->problem,
                   line, column);
}

enum cn_code cn_json_parse(struct cn_arena *arena,
                           const char *text,
                           size_t size,
                           const struct cn_json **ret_json,
                           struct cn_err *err)
{
    struct parser self = {
        .arena = arena, .begin = text, .at = text, .end = text + size
    };
    self.out = cn_arena_bytes(arena, size + 1);
    struct cn_json *top = self.out != NULL ? s_node(&self) : NULL;
    bool ok = top != NULL && s_value(&self, top);
    if (ok) {
        s_space(&self);
        ok = self.at == self.end || s_fail(&self, NOT_JSON);
    }
    if (!ok) {
        return s_problem(&self, err);
    }
    if (top->kind != CN_JSON_OBJECT) {
        return cn_fail(err, CN_MALFORMED, "the JSON must be an object");
    }
    *ret_json = top;
    return CN_OK;
}
