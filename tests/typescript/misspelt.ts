// SPDX-License-Identifier: Apache-2.0
// Compiled, never run: each line behind an expectation must be an error, and no
// other line may be one.
import type { components, paths } from "./cairn";

type Schemas = components["schemas"];
type Query = NonNullable<paths["/v1/referrals"]["get"]["parameters"]["query"]>;
type Decline = NonNullable<
  paths["/v1/referrals/{id}/decline"]["post"]["requestBody"]
>["content"]["application/json"];

export const listed: Query = { status: ["accepted"], updated_since: "2026-12-01T00:00:00Z" };
// @ts-expect-error: a misspelt status
export const misspelt: Query = { status: ["acepted"] };
export const declined: Decline = { reason_code: "no_capacity" };
// @ts-expect-error: a misspelt reason
export const unreasonable: Decline = { reason_code: "no_capasity" };
// @ts-expect-error: the reason is missing
export const silent: Decline = {};
export const made: Schemas["ReferralCreate"] = { disciplines: ["rn"], needs: "Dressing change" };
// @ts-expect-error: a misspelt discipline
export const undisciplined: Schemas["ReferralCreate"] = { disciplines: ["nurse"] };
// @ts-expect-error: a misspelt member
export const unknown: Schemas["ReferralCreate"] = { need: "Dressing change" };
export const cleared: Schemas["ReferralPatch"] = { needs: null };

// What an answer always has needs no question; its words may be new ones.
export const told = (read: Schemas["Referral"]): string =>
  read.id + read.version + read.status + read.patient.id + read.missing.map((one) => one.why).join();
export const ofRelease2: Schemas["Referral"]["status"] = "paused";
export const streamed = (event: Schemas["StreamEvent"]): string =>
  event.type + event.id + (event.referral_id ?? "") + (event.patient_id ?? "");
