/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a cursor and their text. */
#include "common/store/cursor.h"

#include "common/wire/seal.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAC_SIZE = 16,
    BODY_SIZE = 8 + 16,
    WHOLE_SIZE = BODY_SIZE + MAC_SIZE,
    TEXT_SIZE = (WHOLE_SIZE * 4 + 2) / 3
};

static const char s_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum cn_code
cn_page_limit(bool has, int32_t wanted, int *ret_limit, struct cn_err *err)
{
    if (!has) {
        *ret_limit = CN_PAGE_DEFAULT;
        return CN_OK;
    }
    if (wanted < 1 || wanted > CN_PAGE_MAX) {
        return cn_fail_field(err, "/limit", "out_of_range",
                             "must be from 1 to %d", CN_PAGE_MAX);
    }
    *ret_limit = wanted;
    return CN_OK;
}

/* Covers what the text holds and what it must be used with. */
static void s_mac(const struct cn_request *request,
                  const char *filters,
                  const uint8_t body[BODY_SIZE],
                  uint8_t mac[MAC_SIZE])
{
    uint8_t data[BODY_SIZE + 16 + CN_SHA256_SIZE];
    memcpy(data, body, BODY_SIZE);
    memcpy(data + BODY_SIZE, request->principal.tenant_id.bytes, 16);
    struct cn_bytes text = { (const uint8_t *)filters, strlen(filters) };
    cn_sha256(text, data + BODY_SIZE + 16);
    cn_seal_mac(request->env->seal, (struct cn_bytes){ data, sizeof data },
                mac);
}

const char *cn_cursor_write(const struct cn_request *request,
                            const char *filters,
                            struct cn_cursor cursor)
{
    uint8_t whole[WHOLE_SIZE];
    for (int i = 0; i < 8; i++) {
        whole[i] = (uint8_t)((uint64_t)cursor.key >> (56 - 8 * i));
    }
    memcpy(whole + 8, cursor.id.bytes, 16);
    s_mac(request, filters, whole, whole + BODY_SIZE);
    char *text = cn_arena_alloc(request->arena, TEXT_SIZE + 1);
    for (int i = 0; i < TEXT_SIZE; i++) {
        int bit = 6 * i;
        unsigned pair = (unsigned)whole[bit / 8] << 8;
        if (bit / 8 + 1 < WHOLE_SIZE) {
            pair |= whole[bit / 8 + 1];
        }
        text[i] = s_alphabet[pair >> (10 - bit % 8) & 0x3f];
    }
    return text;
}

/* Only the one text that cn_cursor_write makes for the bytes. */
static bool s_decode(const char *text, uint8_t whole[WHOLE_SIZE])
{
    if (text == NULL || strnlen(text, TEXT_SIZE + 1) != TEXT_SIZE) {
        return false;
    }
    unsigned bits = 0;
    int bit_count = 0;
    size_t size = 0;
    for (int i = 0; i < TEXT_SIZE; i++) {
        const char *digit = strchr(s_alphabet, text[i]);
        if (digit == NULL) {
            return false;
        }
        bits = (bits << 6 | (unsigned)(digit - s_alphabet)) & 0xffff;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            whole[size++] = (uint8_t)(bits >> bit_count);
        }
    }
    return (bits & ((1U << bit_count) - 1)) == 0;
}

enum cn_code cn_cursor_read(const struct cn_request *request,
                            const char *filters,
                            const char *text,
                            struct cn_cursor *ret_cursor,
                            struct cn_err *err)
{
    uint8_t whole[WHOLE_SIZE];
    uint8_t mac[MAC_SIZE];
    if (!s_decode(text, whole)) {
        return cn_fail_as(err, CN_MALFORMED, "invalid_cursor",
                          "the cursor cannot be read");
    }
    s_mac(request, filters, whole, mac);
    if (!cn_equal_secret(mac, whole + BODY_SIZE, MAC_SIZE)) {
        return cn_fail_as(err, CN_MALFORMED, "invalid_cursor",
                          "the cursor does not belong to this list");
    }
    uint64_t key = 0;
    for (int i = 0; i < 8; i++) {
        key = key << 8 | whole[i];
    }
    ret_cursor->key = (int64_t)key;
    memcpy(ret_cursor->id.bytes, whole + 8, 16);
    return CN_OK;
}
