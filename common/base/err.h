/* SPDX-License-Identifier: Apache-2.0 */
/* One list of outcomes, one error record, one way to fail. */
#ifndef CN_ERR_H
#define CN_ERR_H

#include <stdbool.h>

#define CN_CHECKED __attribute__((warn_unused_result))
#define CN_PRINTF(format_at, args_at)                                          \
    __attribute__((format(printf, format_at, args_at)))

/* code, word in problem+json, HTTP status, may the caller retry, title */
#define CN_CODES(X)                                                            \
    X(CN_OK, "ok", 200, false, "ok")                                           \
    X(CN_MALFORMED, "malformed", 400, false, "the request cannot be read")     \
    X(CN_UNAUTHENTICATED, "unauthenticated", 401, false,                       \
      "a valid credential is needed")                                          \
    X(CN_FORBIDDEN, "forbidden", 403, false,                                   \
      "the credential does not grant this")                                    \
    X(CN_NOT_FOUND, "not_found", 404, false, "no such record")                 \
    X(CN_METHOD_NOT_ALLOWED, "method_not_allowed", 405, false,                 \
      "this method is not served here")                                        \
    X(CN_NOT_ACCEPTABLE, "not_acceptable", 406, false,                         \
      "no served media type is accepted")                                      \
    X(CN_CONFLICT, "conflict", 409, false, "the state or a guard forbids it")  \
    X(CN_STALE, "stale", 412, false, "the record changed since it was read")   \
    X(CN_TOO_LARGE, "too_large", 413, false, "the request is too large")       \
    X(CN_UNSUPPORTED, "unsupported_media_type", 415, false,                    \
      "this media type is not taken here")                                     \
    X(CN_INVALID, "invalid", 422, false, "a field is missing or malformed")    \
    X(CN_KEY_REUSED, "idempotency_key_reused", 422, false,                     \
      "the idempotency key was used with another request")                     \
    X(CN_PRECONDITION, "precondition_required", 428, false,                    \
      "a precondition is needed")                                              \
    X(CN_BUSY, "busy", 503, true, "the service is at its limit")               \
    X(CN_UNAVAILABLE, "unavailable", 503, true, "a dependency did not answer") \
    X(CN_NOMEM, "out_of_memory", 503, true, "out of memory")                   \
    X(CN_DEADLINE, "deadline", 504, true, "the time allowed has passed")       \
    X(CN_UNKNOWN, "outcome_unknown", 504, true,                                \
      "the outcome is not known; repeat with the same idempotency key")        \
    X(CN_INTERNAL, "internal", 500, false, "internal error")

enum cn_code {
#define X(code, word, status, retryable, title) code,
    CN_CODES(X)
#undef X
        CN_CODE_COUNT
};

enum {
    CN_ERR_MSG_MAX = 192,
    CN_ERR_WORD_MAX = 48,
    CN_ERR_POINTER_MAX = 128,
    CN_ERR_LOCATION_MAX = 96,
    CN_ERR_FIELDS_MAX = 8
};

/* One field at fault: where (JSON Pointer, RFC 6901), a stable word, a
 * sentence. Never a value from the request: it may be patient data. */
struct cn_field_err {
    char pointer[CN_ERR_POINTER_MAX];
    char word[CN_ERR_WORD_MAX];
    char msg[CN_ERR_MSG_MAX];
};

/* What went wrong. Zero-initialise it; cn_fail fills it. No patient data. */
struct cn_err {
    enum cn_code code;
    char word[CN_ERR_WORD_MAX]; /* stable snake_case: "illegal_state" */
    char msg[CN_ERR_MSG_MAX];
    /* Path of the resource in the way (a duplicate), else "". */
    char location[CN_ERR_LOCATION_MAX];
    long long version; /* current version when CN_STALE, else 0 */
    const char *file;  /* where it was made, for the log; NULL: nowhere */
    int line;
    struct cn_field_err fields[CN_ERR_FIELDS_MAX];
    unsigned field_count;
};

/* Records the failure under the code's own word. Returns the code. */
enum cn_code
cn_fail(struct cn_err *err, enum cn_code code, const char *format, ...)
    CN_PRINTF(3, 4);
/* As cn_fail with a more exact word ("illegal_state", "guard_failed"). */
enum cn_code cn_fail_as(struct cn_err *err,
                        enum cn_code code,
                        const char *word,
                        const char *format,
                        ...) CN_PRINTF(4, 5);
/* Adds one field at fault and makes the whole CN_INVALID (422). May be called
 * again to name up to CN_ERR_FIELDS_MAX fields. Returns CN_INVALID. */
enum cn_code cn_fail_field(struct cn_err *err,
                           const char *pointer,
                           const char *word,
                           const char *format,
                           ...) CN_PRINTF(4, 5);
/* CN_STALE with the version that the record has now, for the ETag of the 412.
 */
enum cn_code
cn_fail_stale(struct cn_err *err, const char *what, long long version);
/* Puts "what: " before the message. Returns the code that err holds. */
enum cn_code cn_wrap(struct cn_err *err, const char *what);
/* Clears the failure, for a second try. */
void cn_err_clear(struct cn_err *err);

/* Notes the place of the next failure. Only the macros below call it. */
void cn_fail_here(const char *file, int line);

#ifndef CN_ERR_ITSELF
#if defined(__clang_analyzer__)
/* The analyser reads one file at a time. Here it sees that cn_fail never
 * returns CN_OK, so it knows that a result is set when the code is CN_OK. */
#define cn_fail(err, code, ...)                                                \
    ((void)cn_fail((err), (code), __VA_ARGS__), (code))
#define cn_fail_as(err, code, ...)                                             \
    ((void)cn_fail_as((err), (code), __VA_ARGS__), (code))
#define cn_fail_field(err, ...)                                                \
    ((void)cn_fail_field((err), __VA_ARGS__), CN_INVALID)
#else
/* The log tells the line that made a failure. */
#define cn_fail(err, ...)                                                      \
    (cn_fail_here(__FILE__, __LINE__), cn_fail((err), __VA_ARGS__))
#define cn_fail_as(err, ...)                                                   \
    (cn_fail_here(__FILE__, __LINE__), cn_fail_as((err), __VA_ARGS__))
#define cn_fail_field(err, ...)                                                \
    (cn_fail_here(__FILE__, __LINE__), cn_fail_field((err), __VA_ARGS__))
#endif
#endif

const char *cn_code_word(enum cn_code code);
const char *cn_code_title(enum cn_code code);
unsigned cn_code_status(enum cn_code code);
bool cn_code_retryable(enum cn_code code);

#endif
