/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7_left.h"

#include "cairn/referrals.cairn.h"
#include "common/base/array.h"
#include "common/wire/fold.h"
#include "common/wire/json.h"
#include "services/referrals/rules.h"

#include <stdio.h>
#include <string.h>

enum {
    COMPONENTS_MAX = 25,
    SUBCOMPONENTS_MAX = 6,
    FIELDS_MAX = 64,
    KEPT_MAX = 4 << 20,
    TEXTS_MAX = 4000 /* that are looked for */
};

/* Components that say nothing to people, or that their reader answers for. */
#define C(number) (1U << (number))
#define XPN       (C(7) | C(8) | C(9) | C(10) | C(11) | C(12) | C(13))
#define XAD                                                                    \
    (C(4) | C(5) | C(6) | C(7) | C(10) | C(11) | C(12) | C(13) | C(14) |       \
     C(15) | C(16) | C(17) | C(18) | C(21) | C(22) | C(23))
#define CWE   (C(3) | C(6) | C(7) | C(8) | ~(C(10) - 1))
#define XON   ~C(1)
#define XCN   (C(1) | ~(C(8) - 1))
#define FIRST ~C(1)
#define WHOLE 0U

/* What people need of the fields, kept as text or not at all. */
static const struct row {
    const char *segment;
    int field;
    uint32_t other;
} ROWS[] = {
    { "PID", 5, XPN },
    { "PID", 9, XPN },
    { "PID", 11, XAD },
    { "RF1", 3, ~C(9) },
    { "RF1", 4, CWE },
    { "RF1", 10, CWE | C(1) | C(4) },
    { "RF1", 11, FIRST },
    { "RF1", 14, WHOLE },
    { "RF1", 15, FIRST },
    { "RF1", 20, XCN },
    { "RF1", 24, WHOLE },
    { "PRD", 2, XPN },
    { "PRD", 6, CWE },
    { "PRD", 10, XON },
    { "NK1", 2, XPN },
    { "NK1", 3, CWE | C(1) | C(4) },
    { "NK1", 4, XAD },
    { "NK1", 7, CWE | C(1) | C(4) },
    { "NK1", 13, XON },
    { "NK1", 30, XPN },
    { "NK1", 31, WHOLE },
    { "NK1", 41, WHOLE },
    { "IN1", 2, CWE | C(1) | C(4) },
    { "IN1", 4, XON },
    { "IN1", 8, FIRST },
    { "IN1", 14, FIRST },
    { "IN1", 36, FIRST },
    { "IN1", 49, FIRST },
    { "DG1", 3, CWE },
    { "DG1", 4, WHOLE },
    { "PV1", 7, XCN },
    { "PV1", 8, XCN },
    { "PV1", 9, XCN },
    { "PV1", 17, XCN },
    { "PV1", 37, FIRST },
    { "NTE", 3, WHOLE },
    { "OBR", 4, CWE },
    { "OBR", 13, WHOLE },
    { "OBR", 16, XCN },
    { "OBR", 31, CWE | C(1) | C(4) },
};

/* Segments about the message, not about the patient. */
static const char *const ABOUT_MESSAGE[] = { "MSH", "SFT", "UAC", "EVN", "MSA",
                                             "ERR", "BTS", "FTS", "DSC" };

/* Fields that are social security numbers. */
static const struct {
    const char *segment;
    int field;
} SECRETS[] = { { "PID", 19 }, { "NK1", 37 }, { "GT1", 12 }, { "IN2", 2 } };

/* ddd-dd-dddd, by itself or within a text. */
static bool s_holds_ssn(const char *text)
{
    for (; *text != '\0'; text++) {
        if (strspn(text, "0123456789") == 3 && text[3] == '-' &&
            strspn(text + 4, "0123456789") == 2 && text[6] == '-' &&
            strspn(text + 7, "0123456789") >= 4) {
            return true;
        }
    }
    return false;
}

static bool s_is_secret(const char *segment, int field, const char *text)
{
    for (size_t i = 0; i < CN_COUNT(SECRETS); i++) {
        if (strcmp(segment, SECRETS[i].segment) == 0 &&
            field == SECRETS[i].field) {
            return true;
        }
    }
    return s_holds_ssn(text);
}

void hl7_segment_not_kept(struct hl7_reader *self,
                          const struct cn_hl7_segment *segment,
                          const char *code)
{
    char sent[WARNING_SENT_MAX + 5] = "";
    size_t used = 0;
    if (self->referral->n_warning_details >= WARNING_DETAILS_MAX) {
        referral_warn(self->arena, self->referral, code);
        return;
    }
    for (int field = 1; field <= FIELDS_MAX; field++) {
        const char *text = cn_hl7_sent(self->message, segment, field, 0);
        if (text != NULL && !s_is_secret(segment->name, field, text)) {
            (void)snprintf(sent + used, sizeof(sent) - used, "%s%s",
                           used > 0 ? " | " : "", text);
            used = strlen(sent);
        }
    }
    if (used > 0) {
        const struct warning warning = {
            .code = code,
            .field = segment->name,
            .sent = cn_arena_strdup(self->arena, sent),
        };
        referral_warn_of(self->arena, self->referral, &warning);
    }
}

/* What is kept and what is in warnings, as it is compared. */
static const char *s_kept(struct hl7_reader *self, Ref__Patient *patient)
{
    struct cn_buffer json;
    cn_buffer_init(&json, KEPT_MAX);
    self->referral->patient = patient;
    cn_json_write(&json, &ref__referral__shape, &self->referral->base);
    self->referral->patient = NULL;
    cn_buffer_add(&json, "", 1);
    const char *kept =
        cn_text_folded(self->arena, json.failed ? NULL : json.data);
    cn_buffer_done(&json);
    return kept;
}

/* Words of XPN.5 and 6 that care does not need. */
static const char *const TITLES[] = { "dr", "md", "do", "mr", "mrs", "ms" };

/* Do all lines of the text stand in what is kept? Their letters and digits do.
 */
static bool s_stands(struct hl7_reader *self, const char *kept, char *text)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *folded = cn_text_folded(self->arena, line);
        bool is_title = false;
        for (size_t i = 0; i < CN_COUNT(TITLES); i++) {
            is_title = is_title || strcmp(folded, TITLES[i]) == 0;
        }
        if (!is_title && strstr(kept, folded) == NULL) {
            return false;
        }
    }
    return true;
}

/* A flood: there is no room to tell each, nor time to look for each. */
static bool s_is_full(struct hl7_reader *self, int texts)
{
    bool is_full = texts > TEXTS_MAX ||
                   self->referral->n_warning_details >= WARNING_DETAILS_MAX;
    if (is_full) {
        referral_warn(self->arena, self->referral, "value_not_kept");
    }
    return is_full;
}

/* Does what the component says stand there, each subcomponent by itself? */
static bool s_component_stands(struct hl7_reader *self,
                               const char *kept,
                               struct hl7_place place,
                               int component,
                               int *texts)
{
    int count = component == 0 ? 1 : SUBCOMPONENTS_MAX;
    for (int i = 1; i <= count; i++) {
        const char *text =
            component == 0
                ? cn_hl7_whole(self->message, place.segment, place.field,
                               place.repetition, 0)
                : cn_hl7_sub(self->message, place.segment, place.field,
                             place.repetition, component, i);
        *texts += text != NULL;
        if (text != NULL &&
            !s_stands(self, kept, cn_arena_strdup(self->arena, text))) {
            return false;
        }
    }
    return true;
}

static void s_place_left(struct hl7_reader *self,
                         const char *kept,
                         struct hl7_place place,
                         uint32_t other,
                         int *texts)
{
    int first = other == WHOLE ? 0 : 1;
    int last = other == WHOLE ? 0 : COMPONENTS_MAX;
    for (int i = first; i <= last; i++) {
        if ((other & C(i)) == 0 &&
            !s_component_stands(self, kept, place, i, texts)) {
            hl7_not_kept(self, place);
            return;
        }
    }
}

/* Is the segment not about this patient's care: about the message, or about the
 * provider who is referred to, who is us? */
static bool s_is_idle(struct hl7_reader *self,
                      const struct cn_hl7_segment *segment)
{
    for (size_t i = 0; i < CN_COUNT(ABOUT_MESSAGE); i++) {
        if (strcmp(segment->name, ABOUT_MESSAGE[i]) == 0) {
            return true;
        }
    }
    const char *role = cn_hl7_text(self->message, segment, 1, 1, 1);
    return strcmp(segment->name, "PRD") == 0 && role != NULL &&
           strcasecmp(role, "RT") == 0;
}

/* Looks for what the segment says in its fields. False: it is not read. */
static bool s_segment_left(struct hl7_reader *self,
                           const char *kept,
                           const struct cn_hl7_segment *segment,
                           int *texts)
{
    bool is_read = false;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        if (strcmp(segment->name, ROWS[i].segment) != 0) {
            continue;
        }
        is_read = true;
        struct hl7_place place = hl7_at(segment, ROWS[i].field);
        int count = cn_hl7_repetitions(self->message, segment, ROWS[i].field);
        for (; place.repetition <= count && !s_is_full(self, *texts);
             place.repetition++) {
            s_place_left(self, kept, place, ROWS[i].other, texts);
        }
    }
    /* Only the first visit is read. */
    return is_read && (strcmp(segment->name, "PV1") != 0 ||
                       segment == cn_hl7_segment(self->message, "PV1", 1));
}

void hl7_left_warn(struct hl7_reader *self, Ref__Patient *patient)
{
    const char *kept = s_kept(self, patient);
    int texts = 0;
    for (size_t i = 0; i < self->message->segment_count; i++) {
        const struct cn_hl7_segment *segment = &self->message->segments[i];
        if (!s_is_idle(self, segment) &&
            !s_segment_left(self, kept, segment, &texts)) {
            hl7_segment_not_kept(self, segment, "segment_not_kept");
        }
    }
}
