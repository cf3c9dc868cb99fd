/* SPDX-License-Identifier: Apache-2.0 */
#include "services/notifications/rules.h"

#include "cairn/notifications.resources.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/text.h"

#include <string.h>

#define STATUS(word) NTF__MESSAGE__STATUS__##word
#define FROM(state)  CN_STATE(STATUS(state))

static const struct cn_move MESSAGE_MOVES[] = {
    { "queue", CN_UNMADE, STATUS(QUEUED), "message.queued" },
    { "skip", CN_UNMADE, STATUS(NOT_SENT), "message.not_sent" },
    { "send", FROM(QUEUED), STATUS(SENT), "message.sent" },
    { "fail", FROM(QUEUED), STATUS(FAILED), "message.failed" },
    /* What it says is not so any more. */
    { "stop", FROM(QUEUED), STATUS(STOPPED), "message.not_sent" },
};

/* No channel reports a delivery. */
const struct cn_moves ntf_outgoing_moves = {
    .of = "message",
    .states = &ntf__message__status__descriptor,
    .rows = MESSAGE_MOVES,
    .count = CN_COUNT(MESSAGE_MOVES),
    .ends = FROM(NOT_SENT) | FROM(SENT) | FROM(FAILED) | FROM(STOPPED),
    .unused = FROM(DELIVERED),
};

static bool s_is_plain_word(const char *text, const char *word)
{
    return text != NULL && strcmp(text, word) == 0;
}

/* Who is told of the end. Nobody writes to a patient who has died. */
static size_t s_end_tellings(const Ntf__Care *care,
                             struct telling ret_tellings[CARE_TELLINGS_MAX])
{
    static const char *const TEMPLATES[] = { "referral_declined",
                                             "referral_withdrawn",
                                             "referral_not_admitted" };
    size_t count = 0;
    for (size_t i = 0; i < CN_COUNT(TEMPLATES); i++) {
        if (strcmp(TEMPLATES[i] + strlen("referral_"), care->ended) == 0) {
            ret_tellings[count++] =
                (struct telling){ NTF__MESSAGE__AUDIENCE__REFERRAL_SOURCE,
                                  TEMPLATES[i], care->source_email };
        }
    }
    if (care->accepted && !s_is_plain_word(care->reason_code, "deceased")) {
        ret_tellings[count++] =
            (struct telling){ NTF__MESSAGE__AUDIENCE__PATIENT,
                              "care_not_started", care->patient_email };
    }
    return count;
}

size_t care_tellings(const Ntf__Care *care,
                     struct telling ret_tellings[CARE_TELLINGS_MAX])
{
    size_t count = 0;
    if (care->ended != NULL) {
        return s_end_tellings(care, ret_tellings);
    }
    if (!care->has_accepted || !care->accepted) {
        return 0;
    }
    ret_tellings[count++] =
        (struct telling){ NTF__MESSAGE__AUDIENCE__REFERRAL_SOURCE,
                          "referral_accepted", care->source_email };
    if (care->has_soc_starts_at) {
        ret_tellings[count++] =
            (struct telling){ NTF__MESSAGE__AUDIENCE__PATIENT, "soc_booked",
                              care->patient_email };
    }
    return count;
}

bool address_usable(const char *address)
{
    enum { SIZE_MAX_RFC5321 = 254 };
    size_t size = strlen(address);
    const char *at = strchr(address, '@');
    if (size > SIZE_MAX_RFC5321 || at == NULL || at == address ||
        at[1] == '\0' || strchr(at + 1, '@') != NULL) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (address[i] <= ' ' || address[i] >= 0x7f ||
            strchr("<>()[],;:\\\"", address[i]) != NULL) {
            return false;
        }
    }
    return true;
}

const char *address_fault(const char *address)
{
    return address == NULL            ? "no_address"
           : !address_usable(address) ? "bad_address"
                                      : NULL;
}

/* The zone to write times in: what came from elsewhere may be unknown here. */
static const char *s_care_zone(const Ntf__Care *care)
{
    return care->time_zone != NULL && cn_zone_valid(care->time_zone)
               ? care->time_zone
               : "UTC";
}

const char *template_language(const Ntf__Care *care)
{
    return care->language != NULL && cn_language_same(care->language, "es")
               ? "es"
               : "en";
}

static bool s_accepted_write(struct cn_arena *arena,
                             const Ntf__Care *care,
                             const char **ret_subject,
                             const char **ret_text)
{
    char due[CN_TIME_TEXT_MAX * 2] = "as ordered";
    if (care->has_soc_due_at &&
        !cn_zone_format(s_care_zone(care), care->soc_due_at, due)) {
        return false;
    }
    *ret_subject = "Your referral was accepted";
    *ret_text = cn_arena_printf(
        arena,
        "Your referral%s%s was accepted (our number: %s).\r\n\r\n"
        "The first visit will be made by %s.\r\n"
        "We will tell you when care has started, or at once if it cannot.\r\n",
        care->external_id != NULL ? " " : "",
        care->external_id != NULL ? care->external_id : "", care->referral_id,
        due);
    return true;
}

static bool s_booked_write(struct cn_arena *arena,
                           const Ntf__Care *care,
                           const char **ret_subject,
                           const char **ret_text)
{
    enum { WEEKDAY_SIZE = 4 }; /* "Mon " */
    char at[CN_TIME_TEXT_MAX * 2];
    const char *given = care->patient_given != NULL ? care->patient_given : "";
    const char *space = given[0] != '\0' ? " " : "";
    const char *who = care->clinician_name;
    if (!cn_zone_format(s_care_zone(care), care->soc_starts_at, at)) {
        return false;
    }
    if (strcmp(template_language(care), "es") == 0) {
        *ret_subject = "Su primera visita en casa";
        /* Without the English word for the day. */
        *ret_text = cn_arena_printf(
            arena,
            "Hola%s%s:\r\n\r\n%s visitará su casa el %s.\r\n"
            "Si esta hora no le conviene, llámenos, por favor.\r\n",
            space, given, who != NULL ? who : "Nuestro personal",
            at + WEEKDAY_SIZE);
    } else {
        *ret_subject = "Your first home visit";
        *ret_text = cn_arena_printf(
            arena,
            "Hello%s%s,\r\n\r\n%s will visit you at home on %s.\r\n"
            "If this time does not suit you, please call us.\r\n",
            space, given, who != NULL ? who : "A clinician", at);
    }
    return true;
}

/* Why a referral ended, for its source. A reason that tells of the patient's
 * health or life is not written in a mail. */
static const char *s_reason_words(const char *code)
{
    static const struct {
        const char *code;
        const char *words;
    } REASONS[] = {
        { "no_capacity", "we have nobody free in time" },
        { "out_of_area", "the address is outside our area" },
        { "payer_not_accepted", "we do not work with this payer" },
        { "no_ordering_physician", "no physician signs the orders" },
        { "f2f_missing", "the face-to-face encounter is not documented" },
        { "auth_denied", "the payer did not authorize the care" },
        { "chose_other_agency", "another agency was chosen" },
        { "duplicate", "we have the same referral already" },
        { "wrong_service", "we do not offer the service that it asks for" },
    };
    for (size_t i = 0; i < CN_COUNT(REASONS); i++) {
        if (s_is_plain_word(code, REASONS[i].code)) {
            return REASONS[i].words;
        }
    }
    return "please call us";
}

static bool s_end_write(struct cn_arena *arena,
                        const Ntf__Care *care,
                        const char **ret_subject,
                        const char **ret_text)
{
    const char *ended =
        s_is_plain_word(care->ended, "declined")    ? "was not accepted"
        : s_is_plain_word(care->ended, "withdrawn") ? "was withdrawn"
                                                    : "has ended";
    *ret_subject = cn_arena_printf(arena, "Your referral %s", ended);
    *ret_text = cn_arena_printf(
        arena,
        "Your referral%s%s %s (our number: %s).\r\n\r\n"
        "%sWe will not start care. Reason: %s.\r\n"
        "If care is still needed, please arrange it elsewhere.\r\n",
        care->external_id != NULL ? " " : "",
        care->external_id != NULL ? care->external_id : "", ended,
        care->referral_id,
        care->accepted ? "We told you before that it was accepted. That does "
                         "not hold any more.\r\n"
                       : "",
        s_reason_words(care->reason_code));
    return true;
}

static bool s_not_started_write(struct cn_arena *arena,
                                const Ntf__Care *care,
                                const char **ret_subject,
                                const char **ret_text)
{
    const char *given = care->patient_given != NULL ? care->patient_given : "";
    const char *space = given[0] != '\0' ? " " : "";
    if (strcmp(template_language(care), "es") == 0) {
        *ret_subject = "Su cuidado en casa";
        *ret_text = cn_arena_printf(
            arena,
            "Hola%s%s:\r\n\r\nNuestra agencia no comenzará su cuidado en"
            " casa. Si le anunciamos una visita, no tendrá lugar.\r\n"
            "Quien nos lo pidió lo sabe. Si necesita ayuda, llámenos, por"
            " favor.\r\n",
            space, given);
    } else {
        *ret_subject = "Your care at home";
        *ret_text = cn_arena_printf(
            arena,
            "Hello%s%s,\r\n\r\nour agency will not start your care at home."
            " If we told you of a visit, it will not take place.\r\n"
            "Those who asked us for it know. If you need help, please call"
            " us.\r\n",
            space, given);
    }
    return true;
}

bool template_write(struct cn_arena *arena,
                    const char *template,
                    const Ntf__Care *care,
                    const char **ret_subject,
                    const char **ret_text)
{
    static const struct {
        const char *name;
        bool (*write)(struct cn_arena *,
                      const Ntf__Care *,
                      const char **,
                      const char **);
    } TEMPLATES[] = {
        { "referral_accepted", s_accepted_write },
        { "soc_booked", s_booked_write },
        { "referral_declined", s_end_write },
        { "referral_withdrawn", s_end_write },
        { "referral_not_admitted", s_end_write },
        { "care_not_started", s_not_started_write },
    };
    for (size_t i = 0; i < CN_COUNT(TEMPLATES); i++) {
        if (strcmp(TEMPLATES[i].name, template) == 0) {
            return TEMPLATES[i].write(arena, care, ret_subject, ret_text);
        }
    }
    return false;
}

struct send_step send_next(enum channel_outcome outcome, size_t attempts)
{
    /* How long after attempt n. */
    static const int64_t WAITS[] = {
        2 * CN_SECOND,  10 * CN_SECOND, CN_MINUTE,   5 * CN_MINUTE,
        30 * CN_MINUTE, 2 * CN_HOUR,    6 * CN_HOUR,
    };
    const size_t last = CN_COUNT(WAITS) - 1;
    if (outcome == CHANNEL_ACCEPTED) {
        return (struct send_step){ .command = "send" };
    }
    if (outcome == CHANNEL_REFUSED) {
        return (struct send_step){ .command = "fail",
                                   .reason_code = "refused" };
    }
    if (attempts >= SEND_ATTEMPTS_MAX) {
        return (struct send_step){ .command = "fail",
                                   .reason_code = "attempts_exhausted" };
    }
    size_t at = attempts > 0 ? attempts - 1 : 0;
    return (struct send_step){ .command = NULL,
                               .retry_us = WAITS[at < last ? at : last] };
}
