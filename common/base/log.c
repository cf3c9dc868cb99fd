/* SPDX-License-Identifier: Apache-2.0 */
/* One JSON object per line. Lines of requests that went well are written
 * together at the end of the loop's turn: a write(2) for each took longer than
 * making the line. */
#include "common/base/log.h"

#include "common/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Below PIPE_BUF, so that lines of several processes never mix in a pipe. */
enum { LINE_MAX_SIZE = 4000, TEXT_MAX_SIZE = 512, WHERE_MAX = 128 };

struct line {
    char data[LINE_MAX_SIZE];
    size_t size;
    bool full;
};

/* Lines of this turn. */
static struct {
    char data[LINE_MAX_SIZE];
    size_t size;
} s_waiting;

static const char *const s_level_words[] = { [CN_LOG_DEBUG] = "debug",
                                             [CN_LOG_INFO] = "info",
                                             [CN_LOG_WARN] = "warn",
                                             [CN_LOG_ERROR] = "error" };
static char s_service[32] = "cairn";
static enum cn_log_level s_lowest = CN_LOG_INFO;

bool cn_log_level_read(const char *word, enum cn_log_level *ret_level)
{
    for (int level = CN_LOG_DEBUG; level <= CN_LOG_ERROR; level++) {
        if (strcmp(s_level_words[level], word) == 0) {
            *ret_level = (enum cn_log_level)level;
            return true;
        }
    }
    return false;
}

void cn_log_init(const char *service, enum cn_log_level level)
{
    (void)snprintf(s_service, sizeof s_service, "%s", service);
    s_lowest = level;
}

/* Keeps two bytes for the closing brace and the newline. */
static void s_line_put(struct line *line, const char *data, size_t size)
{
    if (line->full || size > sizeof line->data - 2 - line->size) {
        line->full = true;
        return;
    }
    memcpy(line->data + line->size, data, size);
    line->size += size;
}

static void s_put_text(struct line *line, const char *text)
{
    s_line_put(line, text, strlen(text));
}

/* Our own texts are ASCII; anything else would be somebody's value. */
static void s_put_escaped(struct line *line, const char *text)
{
    char piece[8];
    for (size_t i = 0; i < TEXT_MAX_SIZE && text[i] != '\0'; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') {
            piece[0] = '\\';
            piece[1] = (char)byte;
            s_line_put(line, piece, 2);
        } else if (byte < 0x20) {
            (void)snprintf(piece, sizeof piece, "\\u%04x", byte);
            s_line_put(line, piece, 6);
        } else {
            piece[0] = (char)(byte < 0x7f ? byte : '?');
            s_line_put(line, piece, 1);
        }
    }
}

/* A member that does not fit is left out whole: the line stays JSON. */
static void s_put_member(struct line *line, const char *name, const char *value)
{
    size_t size = line->size;
    s_put_text(line, size == 0 ? "{\"" : ",\"");
    s_put_text(line, name);
    s_put_text(line, "\":\"");
    s_put_escaped(line, value);
    s_put_text(line, "\"");
    if (line->full) {
        line->full = false;
        line->size = size;
    }
}

static void s_line_begin(struct line *line, enum cn_log_level level)
{
    char ts[CN_TIME_TEXT_MAX];
    cn_time_format(cn_clock_real(), ts);
    line->size = 0;
    line->full = false;
    s_put_member(line, "ts", ts);
    s_put_member(line, "level", s_level_words[level]);
    s_put_member(line, "svc", s_service);
}

static void s_log_write(const char *data, size_t size)
{
    ssize_t rc;
    do {
        rc = write(STDOUT_FILENO, data, size);
    } while (rc < 0 && errno == EINTR);
    /* There is nobody to tell that the log cannot be written. */
}

void cn_log_flush(void)
{
    if (s_waiting.size > 0) {
        s_log_write(s_waiting.data, s_waiting.size);
        s_waiting.size = 0;
    }
}

/* Keeps the line until the end of the loop's turn. */
static void s_line_end(struct line *line)
{
    line->data[line->size++] = '}';
    line->data[line->size++] = '\n';
    if (line->size > sizeof s_waiting.data - s_waiting.size) {
        cn_log_flush();
    }
    memcpy(s_waiting.data + s_waiting.size, line->data, line->size);
    s_waiting.size += line->size;
}

void cn_log(enum cn_log_level level, const char *format, ...)
{
    if (level < s_lowest) {
        return;
    }
    char msg[TEXT_MAX_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(msg, sizeof msg, format, args);
    va_end(args);
    struct line line;
    s_line_begin(&line, level);
    s_put_member(&line, "msg", msg);
    s_line_end(&line);
    cn_log_flush();
}

static enum cn_log_level s_level_of(enum cn_code code)
{
    if (code == CN_INTERNAL || code == CN_UNKNOWN) {
        return CN_LOG_ERROR;
    }
    return cn_code_retryable(code) ? CN_LOG_WARN : CN_LOG_INFO;
}

static void s_put_number(struct line *line, const char *name, int64_t value)
{
    char number[64];
    (void)snprintf(number, sizeof number, ",\"%s\":%" PRId64, name, value);
    s_put_text(line, number);
}

static void s_put_http(struct line *line, const struct cn_log_http *http)
{
    if (http->address != NULL) {
        s_put_member(line, "address", http->address);
    }
    s_put_member(line, "verb", http->verb);
    s_put_member(line, "path", http->path);
    s_put_number(line, "status", http->status);
}

static void s_put_failure(struct line *line, const struct cn_err *err)
{
    char where[WHERE_MAX];
    s_put_member(line, "error",
                 err->field_count > 0 ? err->fields[0].word : err->word);
    s_put_member(line, "msg", err->msg);
    if (err->file != NULL) {
        (void)snprintf(where, sizeof(where), "%s:%d", err->file, err->line);
        s_put_member(line, "where", where);
    }
}

void cn_log_answer(const char *request_id,
                   struct cn_uuid tenant_id,
                   const char *method,
                   const struct cn_err *err,
                   int64_t elapsed_us,
                   const struct cn_log_http *http)
{
    enum cn_code code = err == NULL ? CN_OK : err->code;
    enum cn_log_level level = s_level_of(code);
    if (level < s_lowest) {
        return;
    }
    struct line line;
    char tenant[CN_ID_TEXT_MAX];
    s_line_begin(&line, level);
    if (request_id != NULL) {
        s_put_member(&line, "request_id", request_id);
    }
    if (!cn_uuid_is_nil(tenant_id)) {
        cn_id_format(CN_TENANT_PREFIX, tenant_id, tenant);
        s_put_member(&line, "tenant", tenant);
    }
    s_put_member(&line, "method", method == NULL ? "" : method);
    if (http != NULL) {
        s_put_http(&line, http);
    }
    s_put_member(&line, "code", cn_code_word(code));
    if (err != NULL && code != CN_OK) {
        s_put_failure(&line, err);
    }
    s_put_number(&line, "us", elapsed_us);
    s_line_end(&line);
    if (level > CN_LOG_INFO) {
        cn_log_flush();
    }
}

void cn_log_request(const char *request_id,
                    struct cn_uuid tenant_id,
                    const char *method,
                    const struct cn_err *err,
                    int64_t elapsed_us)
{
    cn_log_answer(request_id, tenant_id, method, err, elapsed_us, NULL);
}
