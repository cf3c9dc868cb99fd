/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of heads. */
#include "common/http/head.h"

#include <string.h>
#include <strings.h>

enum cn_head_state
cn_head_scan(struct cn_head *self, const char *data, size_t size)
{
    while (self->at < size) {
        unsigned char c = (unsigned char)data[self->at];
        bool after_cr = self->at > 0 && data[self->at - 1] == '\r';
        if ((c == '\n') != after_cr || c == 0x7f ||
            (c < 0x20 && c != '\t' && c != '\r' && c != '\n')) {
            return CN_HEAD_BROKEN;
        }
        if (self->at++ - self->begin >= CN_HEAD_MAX) {
            return self->line == self->begin ? CN_HEAD_TOO_LONG
                                             : CN_HEAD_TOO_LARGE;
        }
        if (c != '\n') {
            continue;
        }
        bool is_empty = self->at == self->line + 2;
        if (is_empty && self->at > 2) {
            return self->line == self->begin ? CN_HEAD_BROKEN : CN_HEAD_WHOLE;
        }
        self->begin = is_empty ? self->at : self->begin;
        self->line = self->at;
    }
    return CN_HEAD_MORE;
}

/* Ends the text at the first of these characters and returns what follows; NULL
 * when there is none. */
static char *s_cut(char *text, const char *at)
{
    char *end = strstr(text, at);
    if (end == NULL) {
        return NULL;
    }
    *end = '\0';
    return end + strlen(at);
}

/* "http://host/path" (RFC 9112 3.2.2): the host moves to the left by a byte, so
 * that a NUL can end it before the path. */
static char *s_authority(char *target, struct cn_framing_head *head)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    if (scheme == 0) {
        return target;
    }
    size_t size = strcspn(target + scheme, "/?");
    char *authority = target + scheme - 1;
    memmove(authority, authority + 1, size);
    authority[size] = '\0';
    head->authority = authority;
    return authority + size + 1;
}

static bool s_line(char *line, struct cn_framing_head *head)
{
    char *target = s_cut(line, " ");
    char *version = target == NULL ? NULL : s_cut(target, " ");
    if (version == NULL) {
        return false;
    }
    head->method = line;
    head->version = version;
    char *path = s_authority(target, head);
    head->query = s_cut(path, "?");
    head->path = path[0] == '\0' && head->authority != NULL ? "/" : path;
    return true;
}

static bool s_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool s_field(char *line, struct cn_framing_field *field)
{
    char *value = s_cut(line, ":");
    if (value == NULL) {
        return false;
    }
    while (s_is_blank(*value)) {
        value++;
    }
    size_t size = strlen(value);
    while (size > 0 && s_is_blank(value[size - 1])) {
        size--;
    }
    value[size] = '\0';
    *field = (struct cn_framing_field){ line, strlen(line), value, size };
    return true;
}

enum cn_code
cn_head_cut(char *text, struct cn_framing_head *ret_head, struct cn_err *err)
{
    *ret_head = (struct cn_framing_head){ 0 };
    char *next = s_cut(text, "\r\n");
    if (!s_line(text, ret_head)) {
        return cn_fail(err, CN_MALFORMED,
                       "the first line is a method, a target and a version");
    }
    for (char *line = next; line != NULL && *line != '\0'; line = next) {
        next = s_cut(line, "\r\n");
        if (ret_head->field_count == CN_FRAMING_FIELDS_MAX) {
            return cn_fail(err, CN_MALFORMED, "too many header fields");
        }
        if (!s_field(line, &ret_head->fields[ret_head->field_count++])) {
            return cn_fail(err, CN_MALFORMED,
                           "a header line is no name, colon and value");
        }
    }
    return CN_OK;
}
