/* SPDX-License-Identifier: Apache-2.0 */
/* The writer of acknowledgements. */
#include "common/hl7/hl7_internal.h"

#include "common/base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes a text of ours: delimiters are escaped (spaces where the message names
 * no escape character), line ends become spaces. */
static void
s_put_own_text(FILE *out, const struct cn_hl7 *message, const char *text)
{
    const char marks[] = { message->field, message->component,
                           message->subcomponent, message->repetition,
                           message->escape };
    for (char e = message->escape; text != NULL && *text != '\0'; text++) {
        const char *at = memchr(marks, *text, sizeof(marks));
        if (at != NULL && e != '\0') {
            (void)fprintf(out, "%c%c%c", e, "FSTRE"[at - marks], e);
        } else {
            bool plain = at == NULL && *text != '\r' && *text != '\n';
            (void)fputc(plain ? *text : ' ', out);
        }
    }
}

/* A field of the header as it was sent. A line feed in it would begin a segment
 * of ours. */
static void s_put_raw(FILE *out, const struct cn_hl7 *message, int field)
{
    struct cn_bytes raw = cn_hl7_raw(message, message->segments, field);
    for (size_t i = 0; i < raw.size; i++) {
        (void)fputc(raw.data[i] == '\n' ? ' ' : raw.data[i], out);
    }
}

static void s_put_field(FILE *out, const struct cn_hl7 *message, int field)
{
    s_put_raw(out, message, field);
    (void)fputc(message->field, out);
}

/* YYYYMMDDHHMMSS+0000 from "YYYY-MM-DDTHH:MM:SS". */
static void s_put_time(FILE *out, int64_t at)
{
    char text[CN_TIME_TEXT_MAX];
    cn_time_format(at, text);
    (void)fprintf(out, "%.4s%.2s%.2s%.2s%.2s%.2s+0000", text, text + 5,
                  text + 8, text + 11, text + 14, text + 17);
}

static void s_put_fault(FILE *out,
                        const struct cn_hl7 *message,
                        const struct cn_hl7_fault *fault)
{
    char f = message->field;
    char c = message->component;
    (void)fprintf(out, "ERR%c%c", f, f);
    if (fault->segment != NULL) {
        (void)fprintf(out, "%s%c%d", fault->segment, c, fault->sequence);
    }
    if (fault->segment != NULL && fault->field > 0) {
        (void)fprintf(out, "%c%d", c, fault->field);
    }
    (void)fprintf(out, "%c%d%c%cHL70357%c%c%c%s%c%c%c", f, fault->code, c, c, f,
                  fault->ack[1] == 'A' ? 'W' : 'E', f,
                  fault->word != NULL ? fault->word : "", f, f, f);
    s_put_own_text(out, message, fault->text);
    (void)fputc('\r', out);
}

/* Trigger events are a letter and two digits (table 0003). */
static bool s_is_trigger(const char *text)
{
    return isupper((unsigned char)text[0]) && isdigit((unsigned char)text[1]) &&
           isdigit((unsigned char)text[2]) && text[3] == '\0';
}

static void
s_put_ack(FILE *out, const struct cn_hl7 *message, const struct cn_hl7_ack *ack)
{
    char f = message->field;
    (void)fprintf(out, "MSH%c", f);
    s_put_field(out, message, 2);
    s_put_field(out, message, 5); /* receiver becomes sender */
    s_put_field(out, message, 6);
    s_put_field(out, message, 3);
    s_put_field(out, message, 4);
    s_put_time(out, ack->at);
    (void)fprintf(out, "%c%cACK", f, f);
    const char *trigger = cn_hl7_text(message, message->segments, 9, 1, 2);
    if (trigger != NULL && s_is_trigger(trigger)) {
        (void)fprintf(out, "%c%s%cACK", message->component, trigger,
                      message->component);
    }
    (void)fprintf(out, "%c%s%c", f, ack->control_id, f);
    s_put_field(out, message, 11);
    s_put_field(out, message, 12);
    (void)fprintf(out, "%c%c%c%c%cUNICODE UTF-8\r", f, f, f, f, f);
    (void)fprintf(out, "MSA%c%s%c", f, ack->code, f);
    s_put_raw(out, message, 10);
    if (ack->text != NULL) {
        (void)fputc(f, out);
        s_put_own_text(out, message, ack->text);
    }
    (void)fputc('\r', out);
    if (ack->fault != NULL) {
        s_put_fault(out, message, ack->fault);
    }
}

struct cn_bytes cn_hl7_ack_write(const struct cn_hl7 *message,
                                 const struct cn_hl7_ack *ack)
{
    char *data = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&data, &size);
    if (out != NULL) {
        s_put_ack(out, message, ack);
    }
    struct cn_bytes written = { 0 };
    if (out != NULL && fclose(out) == 0) {
        written.data = cn_arena_copy(message->arena, data, size);
        written.size = size;
    } else {
        cn_arena_fail(message->arena);
    }
    free(data);
    return written;
}
