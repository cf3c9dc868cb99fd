/* SPDX-License-Identifier: Apache-2.0 */
/* Words of openapi.json: descriptions from comments, examples from rules. */
#include "plugin.h"

#include "common/base/array.h"

#include <ctype.h>
#include <string.h>

/* Fields that many messages have, and mean the same in each. */
static const struct common {
    const char *name;
    const char *prefix; /* of the id that it holds */
    const char *description;
    const char *example; /* JSON; NULL: by its rules */
} COMMON[] = {
    { "id", NULL, "The id of the record.",
      "\"ref_06f5ss0n0sxxk9v8m1m0c8t5gk\"" },
    { "version", NULL,
      "Counts the changes of the record, from 1. In quotes it is the ETag.",
      NULL },
    { "created_at", NULL, "When the record was made.", NULL },
    { "updated_at", NULL, "When the record last changed.", NULL },
    { "branch_id", "brn", "The branch that the record belongs to.", NULL },
    { "patient_id", "pat", "The patient.", NULL },
    { "referral_id", "ref", "The referral.", NULL },
    { "clinician_id", "cln", "The clinician.", NULL },
    { "user_id", "usr", "The person.", NULL },
    { "agency_id", "agc", "The agency.", NULL },
    { "limit", NULL, "How many rows a page has at most.", NULL },
    { "cursor", NULL,
      "Where the page begins: `next_cursor` of the page before. It is good for "
      "the same list with the same filters.",
      "\"AAYtXa...\"" },
    { "data", NULL, "The rows of the page, in the order of the list.", NULL },
    { "next_cursor", NULL,
      "The `cursor` of the next page. Absent on the last one.",
      "\"AAYtXa...\"" },
    { "has_more", NULL, "Is there a next page?", NULL },
    { "updated_since", NULL,
      "Only what changed then or later, the oldest change first. To follow a "
      "list, ask again with the newest `updated_at` that you have, less a "
      "minute, for a change may be committed a moment after its time.",
      NULL },
};

static const struct common *common_find(const char *name)
{
    for (size_t i = 0; i < CN_COUNT(COMMON); i++) {
        if (equal(COMMON[i].name, name)) {
            return &COMMON[i];
        }
    }
    return NULL;
}

/* ---- comments ---- */

const char *description_of(const char *comment)
{
    struct text text = { 0 };
    bool in_table = false;
    text_puts(&text, "");
    while (*comment != '\0') {
        const char *end = strchrnul(comment, '\n');
        if (*comment != '@' && end > comment) {
            const char *between = *comment != '|' ? " "
                                  : in_table      ? "\n"
                                                  : "\n\n";
            in_table = *comment == '|';
            text_puts(&text, text.size > 0 ? between : "");
            text_add(&text, comment, (size_t)(end - comment));
        }
        comment = *end == '\0' ? end : end + 1;
    }
    return text.data;
}

/* What follows the mark on its line; NULL: it is not there. */
static const char *marked(const char *comment, const char *mark)
{
    const char *at = strstr(comment, mark);
    if (at == NULL) {
        return NULL;
    }
    at += strlen(mark);
    return duplicate(at, (size_t)(strchrnul(at, '\n') - at));
}

const char *example_of(const char *comment)
{
    return marked(comment, "@example ");
}

const char *event_text(const struct message *message, const char *type)
{
    return marked(message->comment, format("@event %s ", type));
}

bool is_streamed(const struct message *message, const char *type)
{
    static const char SNAPSHOT[] = ".snapshot";
    size_t size = strlen(type);
    return message->event_scope != NULL &&
           (size < sizeof(SNAPSHOT) ||
            !equal(type + size - (sizeof(SNAPSHOT) - 1), SNAPSHOT));
}

void member_text(struct text *json, const char *name, const char *value)
{
    if (value[0] != '\0') {
        text_printf(json, ",\"%s\":", name);
        text_quote(json, value);
    }
}

const char *enum_word(const struct enumeration *of, size_t at)
{
    struct text text = { 0 };
    for (const char *c = of->proto->value[at]->name; *c != '\0'; c++) {
        char lower = (char)tolower((unsigned char)*c);
        text_add(&text, &lower, 1);
    }
    return text.data;
}

/* ---- fields ---- */

/* "`captured`: something is missing; ...": the words that say what they mean.
 */
static void put_meanings(const struct enumeration *of, struct text *text)
{
    const char *between = text->size > 0 ? "\n" : "";
    for (size_t i = 0; of != NULL && i < of->proto->n_value; i++) {
        if (of->comments[i][0] != '\0') {
            text_printf(text, "%s- `%s`: %s", between, enum_word(of, i),
                        description_of(of->comments[i]));
            between = "\n";
        }
    }
}

const char *field_description(const struct field *field)
{
    const struct common *common = common_find(field->name);
    struct text text = { 0 };
    text_puts(&text, field->comment[0] != '\0' ? description_of(field->comment)
                     : common != NULL          ? common->description
                                               : "");
    put_meanings(field->words != NULL ? field->words : field->enumeration,
                 &text);
    return text.data;
}

const char *field_prefix(const struct field *field)
{
    const struct common *common = common_find(field->name);
    return field->rule.id != NULL ? field->rule.id
           : common != NULL       ? common->prefix
                                  : NULL;
}

static const char *quoted(const char *value)
{
    struct text text = { 0 };
    text_quote(&text, value);
    return text.data;
}

static const char *string_example(const struct field *field)
{
    static const struct {
        const char *word;
        const char *example;
    } words[] = {
        { "date", "2026-12-01" },
        { "birth_date", "1948-02-29" },
        { "zone", "America/Chicago" },
        { "clock", "09:00" },
        { "npi", "1234567893" },
        { "phone", "+1 270 555 0100" },
        { "email", "intake@hospital.example" },
        { "postal_code", "42001" },
    };
    const struct common *common = common_find(field->name);
    const char *prefix = field_prefix(field);
    for (size_t i = 0; i < CN_COUNT(words); i++) {
        if (equal(field->rule.kind, words[i].word) ||
            equal(field->rule.pattern, words[i].word)) {
            return quoted(words[i].example);
        }
    }
    return field->words != NULL ? quoted(enum_word(field->words, 0))
           : prefix != NULL
               ? quoted(format("%s_06f5ss0n0sxxk9v8m1m0c8t5gk", prefix))
           : common != NULL ? common->example
                            : NULL;
}

static const char *value_example(const struct field *field)
{
    if (field->rule.example != NULL) {
        return field->proto->type == TYPE(STRING) ? quoted(field->rule.example)
                                                  : field->rule.example;
    }
    if (equal(field->rule.kind, "time")) {
        return "\"2026-12-01T15:00:00Z\"";
    }
    switch ((int)field->proto->type) {
    case TYPE(STRING):
        return string_example(field);
    case TYPE(ENUM):
        return quoted(enum_word(field->enumeration, 0));
    case TYPE(BOOL):
        return "true";
    case TYPE(BYTES):
        return "\"TVNIfA==\"";
    default:
        return equal(field->name, "limit") ? "50" : "1";
    }
}

const char *field_example(const struct field *field)
{
    const char *value = field->message == NULL ? value_example(field) : NULL;
    return value != NULL && field->repeated ? format("[%s]", value) : value;
}
