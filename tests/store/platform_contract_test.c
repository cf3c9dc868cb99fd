/* SPDX-License-Identifier: Apache-2.0 */
/* The plans of the statements that every service has. */
#include "tests/lib/contract.h"

int main(void)
{
    const struct cn_service service = { .name = "probe" };
    const struct contract contract = {
        .service = &service,
        .folder = "tests/store/probe",
        .platform = true,
    };
    return contract_main(&contract);
}
