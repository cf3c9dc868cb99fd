/* SPDX-License-Identifier: Apache-2.0 */
#include "common/wire/text.h"

#include "common/base/array.h"
#include "common/base/clock.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* ---- characters ---- */

struct range {
    uint32_t first;
    uint32_t last;
};

static const struct range BLANKS[] = {
    { 0x09, 0x0D },     { 0x20, 0x20 },     { 0x85, 0x85 },
    { 0xA0, 0xA0 },     { 0x1680, 0x1680 }, { 0x180E, 0x180E },
    { 0x2000, 0x200B }, { 0x200E, 0x200F }, { 0x2028, 0x2029 },
    { 0x202F, 0x202F }, { 0x205F, 0x2060 }, { 0x3000, 0x3000 },
    { 0xFEFF, 0xFEFF },
};

static const struct range CONTROLS[] = {
    { 0x00, 0x1F },     { 0x7F, 0x9F },     { 0x2028, 0x202E },
    { 0x2066, 0x2069 }, { 0xFDD0, 0xFDEF },
};

/* Beyond ASCII: punctuation, signs, marks that stand on a letter, fillers,
 * private use. What is not here counts as a letter of some script. */
static const struct range SIGNS[] = {
    { 0x80, 0xA9 },        { 0xAB, 0xB4 },     { 0xB6, 0xB9 },
    { 0xBB, 0xBF },        { 0xD7, 0xD7 },     { 0xF7, 0xF7 },
    { 0x2C2, 0x36F },      { 0x115F, 0x1160 }, { 0x1680, 0x1680 },
    { 0x17B4, 0x17B5 },    { 0x180B, 0x180F }, { 0x2000, 0x20FF },
    { 0x2190, 0x2BFF },    { 0x2E00, 0x2E7F }, { 0x3000, 0x3004 },
    { 0x3008, 0x3020 },    { 0x3030, 0x3030 }, { 0x3164, 0x3164 },
    { 0xE000, 0xF8FF },    { 0xFDD0, 0xFDEF }, { 0xFE00, 0xFE6F },
    { 0xFEFF, 0xFF20 },    { 0xFF3B, 0xFF40 }, { 0xFF5B, 0xFF65 },
    { 0xFFA0, 0xFFA0 },    { 0xFFE0, 0xFFFF }, { 0x1F000, 0x1FAFF },
    { 0xE0000, 0x10FFFF },
};

static bool s_is_in(uint32_t point, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count && ranges[i].first <= point; i++) {
        if (point <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

static bool s_is_white(uint32_t point)
{
    return s_is_in(point, BLANKS, CN_COUNT(BLANKS));
}

static bool s_is_control(uint32_t point, bool has_lines)
{
    if (has_lines && (point == '\t' || point == '\n' || point == '\r')) {
        return false;
    }
    return s_is_in(point, CONTROLS, CN_COUNT(CONTROLS)) ||
           (point & 0xFFFEU) == 0xFFFEU;
}

uint32_t cn_text_point(const char *text, size_t *ret_size)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t size = c[0] < 0x80 ? 1 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    uint32_t point = size == 1 ? c[0] : c[0] & (0xFFU >> (size + 1));
    size_t used = 1;
    while (used < size && (c[used] & 0xC0) == 0x80) {
        point = point << 6 | (c[used] & 0x3FU);
        used++;
    }
    *ret_size = used;
    return point;
}

/* ---- texts ---- */

const char *cn_text_trim(const char *text, size_t *size)
{
    size_t step = 0;
    size_t left = *size;
    while (left > 0 && s_is_white(cn_text_point(text, &step))) {
        text += step;
        left -= step;
    }
    while (left > 0) {
        size_t last = left - 1;
        while (last > 0 && ((unsigned char)text[last] & 0xC0) == 0x80) {
            last--;
        }
        if (!s_is_white(cn_text_point(text + last, &step))) {
            break;
        }
        left = last;
    }
    *size = left;
    return text;
}

size_t cn_text_fit(const char *text, size_t size, size_t max)
{
    size_t at = 0;
    while (at < size && max > 0) {
        at++;
        while (at < size && ((unsigned char)text[at] & 0xC0) == 0x80) {
            at++;
        }
        max--;
    }
    return at;
}

bool cn_text_is_clean(const char *text, size_t size, bool has_lines)
{
    size_t step = 0;
    for (size_t at = 0; at < size; at += step) {
        if (s_is_control(cn_text_point(text + at, &step), has_lines)) {
            return false;
        }
    }
    return true;
}

const char *
cn_text_tidy(struct cn_arena *arena, const char *text, bool has_lines)
{
    size_t size = text != NULL ? strlen(text) : 0;
    if (text == NULL) {
        return NULL;
    }
    char *out = cn_arena_alloc(arena, size + 1);
    size_t used = 0;
    size_t step = 0;
    bool was_control = false;
    for (size_t at = 0; at < size; at += step) {
        bool is_control =
            s_is_control(cn_text_point(text + at, &step), has_lines);
        if (is_control && !was_control) {
            out[used++] = ' ';
        } else if (!is_control) {
            memcpy(out + used, text + at, step);
            used += step;
        }
        was_control = is_control;
    }
    const char *kept = cn_text_trim(out, &used);
    out[(size_t)(kept - out) + used] = '\0';
    return kept;
}

bool cn_text_is_name(const char *text)
{
    size_t size = strlen(text);
    size_t step = 0;
    for (size_t at = 0; at < size; at += step) {
        uint32_t point = cn_text_point(text + at, &step);
        if (point < 0x80 ? isalpha((int)point) != 0
                         : !s_is_in(point, SIGNS, CN_COUNT(SIGNS))) {
            return true;
        }
    }
    return false;
}

/* ---- languages ---- */

enum { ALPHA_3 = 3, ALPHA_2 = 2, PAIR_SIZE = 6 };

/* The three letters of ISO 639-2, bibliographic and terminological, with the
 * two of ISO 639-1, for each language that has both; a space ends a pair. */
static const char LANGUAGES[] =
    "aaraa abkab afraf akaak albsq amham araar argan armhy asmas avaav aveae "
    "aymay azeaz bakba bambm baqeu belbe benbn bihbh bisbi bodbo bosbs brebr "
    "bulbg burmy catca cescs chach chece chizh chucu chvcv corkw cosco crecr "
    "cymcy czecs danda deude divdv dutnl dzodz ellel engen epoeo estet euseu "
    "eweee faofo fasfa fijfj finfi frafr frefr fryfy fulff geoka gerde glagd "
    "glega glggl glvgv greel grngn gujgu hatht hauha hebhe herhz hinhi hmoho "
    "hrvhr hunhu hyehy iboig iceis idoio iiiii ikuiu ileie inaia indid ipkik "
    "islis itait javjv jpnja kalkl kankn kasks katka kaukr kazkk khmkm kikki "
    "kinrw kirky komkv konkg korko kuakj kurku laolo latla lavlv limli linln "
    "litlt ltzlb lublu luglg macmk mahmh malml maomi marmr mayms mkdmk mlgmg "
    "mltmt monmn mrimi msams myamy nauna navnv nblnr ndend ndong nepne nldnl "
    "nnonn nobnb norno nyany ocioc ojioj orior ormom ossos panpa perfa plipi "
    "polpl porpt pusps quequ rohrm ronro rumro runrn rusru sagsg sansa sinsi "
    "slksk slosk slvsl smese smosm snasn sndsd somso sotst spaes sqisq srdsc "
    "srpsr sswss sunsu swasw swesv tahty tamta tattt telte tgktg tgltl thath "
    "tibbo tirti tonto tsntn tsots tuktk turtr twitw uigug ukruk urdur uzbuz "
    "venve vievi volvo welcy wlnwa wolwo xhoxh yidyi yoryo zhaza zhozh zulzu ";

/* ISO 639-2 for "not known", "none", "not coded" and "several". */
static const char NO_LANGUAGES[] = "und zxx mis mul ";

static const char *s_pair_of(const char *pairs, size_t step, const char *code)
{
    for (const char *at = pairs; *at != '\0'; at += step) {
        if (strncmp(at, code, ALPHA_3) == 0) {
            return at;
        }
    }
    return NULL;
}

bool cn_language_code(const char *text, char ret_code[CN_LANGUAGE_SIZE])
{
    char code[CN_LANGUAGE_SIZE] = "";
    size_t size = 0;
    while (size < ALPHA_3 && isalpha((unsigned char)text[size])) {
        code[size] = (char)tolower((unsigned char)text[size]);
        size++;
    }
    /* A region or a script may follow: en-US, zh_Hant. */
    if (size < ALPHA_2 ||
        (text[size] != '\0' && text[size] != '-' && text[size] != '_')) {
        return false;
    }
    if (size == ALPHA_3) {
        const char *pair = s_pair_of(LANGUAGES, PAIR_SIZE, code);
        if (s_pair_of(NO_LANGUAGES, ALPHA_3 + 1, code) != NULL) {
            return false;
        }
        if (pair != NULL) {
            memcpy(code, pair + ALPHA_3, ALPHA_2);
            code[ALPHA_2] = '\0';
        }
    }
    memcpy(ret_code, code, sizeof(code));
    return true;
}

bool cn_language_same(const char *a, const char *b)
{
    char code_a[CN_LANGUAGE_SIZE];
    char code_b[CN_LANGUAGE_SIZE];
    return cn_language_code(a, code_a) && cn_language_code(b, code_b)
               ? strcmp(code_a, code_b) == 0
               : strcasecmp(a, b) == 0;
}

/* ---- times ---- */

enum { YEAR_FIRST = 1900, YEAR_LAST = 2199, HOURS_AHEAD = 14 };

static int64_t s_year_at(int year)
{
    return cn_date_days((struct cn_date){ year, 1, 1 }) * CN_DAY;
}

bool cn_time_is_plausible(int64_t at)
{
    return at >= s_year_at(YEAR_FIRST) && at < s_year_at(YEAR_LAST + 1);
}

bool cn_date_is_plausible(const char *text)
{
    struct cn_date date;
    return cn_date_parse(text, &date) && date.year >= YEAR_FIRST &&
           date.year <= YEAR_LAST;
}

bool cn_birth_date_is_plausible(const char *text, int64_t now_at)
{
    struct cn_date date;
    return cn_date_is_plausible(text) && cn_date_parse(text, &date) &&
           cn_date_days(date) <= (now_at + HOURS_AHEAD * CN_HOUR) / CN_DAY;
}
