/* SPDX-License-Identifier: Apache-2.0 */
/* The values of header fields. */
#include "services/gateway/header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    REQUEST_ID_MIN = 8,
    TRACE_SIZE = 55,
    ETAG_DIGITS_MAX = 18 /* so that the version cannot overflow */
};

/* Part of a text. */
struct piece {
    const char *text;
    size_t size;
};

static bool s_is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z');
}

bool header_is_request_id(const char *text)
{
    size_t size = 0;
    for (; text[size] != '\0'; size++) {
        if (size == HEADER_REQUEST_ID_MAX ||
            (!s_is_letter_or_digit(text[size]) &&
             strchr("._-", text[size]) == NULL)) {
            return false;
        }
    }
    return size >= REQUEST_ID_MIN;
}

bool header_is_trace(const char *text)
{
    static const char FORM[] =
        "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    if (strlen(text) != TRACE_SIZE) {
        return false;
    }
    for (size_t i = 0; i < TRACE_SIZE; i++) {
        bool hex = (text[i] >= '0' && text[i] <= '9') ||
                   (text[i] >= 'a' && text[i] <= 'f');
        if (FORM[i] == 'x' ? !hex : text[i] != '-') {
            return false;
        }
    }
    return true;
}

const char *header_bearer(const char *authorization)
{
    static const char SCHEME[] = "Bearer";
    const size_t size = sizeof(SCHEME) - 1;
    if (authorization == NULL ||
        strncasecmp(authorization, SCHEME, size) != 0 ||
        authorization[size] != ' ') {
        return NULL;
    }
    return authorization + size + strspn(authorization + size, " ");
}

/* ---- media types ---- */

static struct piece s_trim(const char *text, size_t size)
{
    while (size > 0 && (text[0] == ' ' || text[0] == '\t')) {
        text++;
        size--;
    }
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t')) {
        size--;
    }
    return (struct piece){ text, size };
}

/* The next item of a list; *text moves behind it. A piece with text NULL: there
 * is no more. */
static struct piece s_item_next(const char **text, char separator)
{
    if (*text == NULL) {
        return (struct piece){ NULL, 0 };
    }
    const char *begin = *text;
    const char *end = strchrnul(begin, separator);
    *text = *end == '\0' ? NULL : end + 1;
    return s_trim(begin, (size_t)(end - begin));
}

static bool s_piece_same(struct piece a, struct piece b)
{
    return a.size == b.size && strncasecmp(a.text, b.text, a.size) == 0;
}

static struct piece s_without_parameters(struct piece item)
{
    const char *end = memchr(item.text, ';', item.size);
    return end == NULL ? item : s_trim(item.text, (size_t)(end - item.text));
}

bool header_type_in(const char *type, const char *list)
{
    struct piece wanted =
        s_without_parameters((struct piece){ type, strlen(type) });
    wanted = s_trim(wanted.text, wanted.size);
    for (struct piece item = s_item_next(&list, ','); item.text != NULL;
         item = s_item_next(&list, ',')) {
        if (s_piece_same(item, wanted)) {
            return true;
        }
    }
    return false;
}

/* How exactly a range of Accept matches the type: 3 "a/b", 2 "a/" and a star, 1
 * any type, 0 not at all. */
static int s_match(struct piece range, const char *type)
{
    const struct piece whole = { type, strlen(type) };
    const size_t kind = strcspn(type, "/") + 1;
    if (s_piece_same(range, whole)) {
        return 3;
    }
    if (range.size == kind + 1 && range.text[kind] == '*' &&
        strncasecmp(range.text, type, kind) == 0) {
        return 2;
    }
    return range.size == 3 && memcmp(range.text, "*/*", 3) == 0 ? 1 : 0;
}

/* Does the item have q=0? */
static bool s_is_refused(struct piece item)
{
    const char *at = memchr(item.text, ';', item.size);
    const char *end = item.text + item.size;
    while (at != NULL) {
        const char *next = memchr(at + 1, ';', (size_t)(end - (at + 1)));
        struct piece parameter =
            s_trim(at + 1, (size_t)((next == NULL ? end : next) - (at + 1)));
        if (parameter.size > 2 && (parameter.text[0] | 0x20) == 'q' &&
            parameter.text[1] == '=') {
            size_t zeros = strspn(parameter.text + 2, "0.");
            return zeros + 2 >= parameter.size;
        }
        at = next;
    }
    return false;
}

bool header_accepts(const char *accept, const char *type)
{
    int best = 0;
    bool taken = false;
    if (accept == NULL || accept[strspn(accept, " \t")] == '\0') {
        return true;
    }
    for (struct piece item = s_item_next(&accept, ','); item.text != NULL;
         item = s_item_next(&accept, ',')) {
        int match = s_match(s_without_parameters(item), type);
        if (match > best) {
            best = match;
            taken = !s_is_refused(item);
        }
    }
    return taken;
}

/* ---- keys and tags ---- */

static enum cn_code s_bad_key(struct cn_err *err)
{
    return cn_fail_as(err, CN_MALFORMED, "invalid_idempotency_key",
                      "Idempotency-Key is a word that begins with a letter or "
                      "a digit, or a text in quotes, of 1 to %d characters",
                      HEADER_KEY_MAX);
}

/* A token of RFC 8941, which may also begin with a digit. */
static bool s_is_word(const char *text)
{
    static const char MARKS[] = "!#$%&'*+-.^_`|~:/";
    if (!s_is_letter_or_digit(text[0])) {
        return false;
    }
    while (s_is_letter_or_digit(*text) ||
           (*text != '\0' && strchr(MARKS, *text) != NULL)) {
        text++;
    }
    return *text == '\0';
}

/* An RFC 8941 string: in quotes, a quote and a backslash are escaped. */
static bool s_unquote(const char *text, size_t size, char *key)
{
    size_t count = 0;
    if (size < 2 || text[size - 1] != '"') {
        return false;
    }
    for (size_t i = 1; i + 1 < size; i++) {
        if (text[i] == '"') {
            return false;
        }
        if (text[i] == '\\') {
            i++;
            if (i + 1 >= size || (text[i] != '"' && text[i] != '\\')) {
                return false;
            }
        }
        key[count++] = text[i];
    }
    key[count] = '\0';
    return true;
}

enum cn_code header_key(struct cn_arena *arena,
                        const char *text,
                        const char **ret_key,
                        struct cn_err *err)
{
    struct piece piece = s_trim(text, strlen(text));
    char *key = cn_arena_strndup(arena, piece.text, piece.size);
    if (key[0] == '"' ? !s_unquote(piece.text, piece.size, key)
                      : !s_is_word(key)) {
        return s_bad_key(err);
    }
    size_t size = 0;
    for (; key[size] != '\0'; size++) {
        if (size == HEADER_KEY_MAX || key[size] < 0x20 || key[size] > 0x7e) {
            return s_bad_key(err);
        }
    }
    if (size == 0) {
        return s_bad_key(err);
    }
    *ret_key = key;
    return CN_OK;
}

/* Reads "<digits>" in quotes, the form of our ETags. */
static bool s_tag(struct piece tag, int64_t *ret_version)
{
    int64_t version = 0;
    if (tag.size < 3 || tag.size > ETAG_DIGITS_MAX + 2 || tag.text[0] != '"' ||
        tag.text[1] == '0' || tag.text[tag.size - 1] != '"') {
        return false;
    }
    for (size_t i = 1; i + 1 < tag.size; i++) {
        if (tag.text[i] < '0' || tag.text[i] > '9') {
            return false;
        }
        version = version * 10 + (tag.text[i] - '0');
    }
    *ret_version = version;
    return true;
}

/* The next entity tag of a list (RFC 9110 8.8.3): "..." or W/"...". The text is
 * empty at the end of the list, and NULL where there is no tag. */
static struct piece s_tag_next(const char **at, bool *ret_weak)
{
    const char *begin = *at + strspn(*at, ", \t");
    *ret_weak = strncmp(begin, "W/", 2) == 0;
    begin += *ret_weak ? 2 : 0;
    if (*begin == '\0' && !*ret_weak) {
        return (struct piece){ begin, 0 };
    }
    const char *end = *begin == '"' ? strchr(begin + 1, '"') : NULL;
    size_t size = end == NULL ? 0 : (size_t)(end + 1 - begin);
    if (size == 0 || strcspn(begin, " \t") < size) {
        return (struct piece){ NULL, 0 };
    }
    end += 1 + strspn(end + 1, " \t");
    if (*end != ',' && *end != '\0') {
        return (struct piece){ NULL, 0 };
    }
    *at = end;
    return (struct piece){ begin, size };
}

static bool s_is_any(const char *text)
{
    struct piece whole = s_trim(text, strlen(text));
    return whole.size == 1 && whole.text[0] == '*';
}

enum cn_code header_if_match(const char *text,
                             struct header_tags *ret_tags,
                             struct cn_err *err)
{
    struct header_tags tags = { .any = s_is_any(text) };
    bool weak = false;
    size_t count = 0;
    struct piece tag = { text, 1 };
    while (!tags.any && tag.text != NULL && tag.size > 0) {
        tag = s_tag_next(&text, &weak);
        count += tag.size > 0 ? 1 : 0;
        int64_t version = 0;
        if (!weak && s_tag(tag, &version) && tags.count < HEADER_TAGS_MAX) {
            tags.versions[tags.count++] = version;
        }
    }
    if (tag.text == NULL || (!tags.any && count == 0)) {
        return cn_fail_as(err, CN_MALFORMED, "invalid_if_match",
                          "If-Match is a list of ETags in quotes, or *");
    }
    *ret_tags = tags;
    return CN_OK;
}

bool header_none_match(const char *text, int64_t version)
{
    bool weak = false;
    struct piece tag = { text, 1 };
    if (s_is_any(text)) {
        return true;
    }
    while (tag.text != NULL && tag.size > 0) {
        int64_t named = 0;
        tag = s_tag_next(&text, &weak);
        if (s_tag(tag, &named) && named == version) {
            return true;
        }
    }
    return false;
}

void header_etag(int64_t version, char text[HEADER_ETAG_MAX])
{
    (void)snprintf(text, HEADER_ETAG_MAX, "\"%" PRId64 "\"", version);
}
