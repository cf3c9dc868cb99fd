-- Creates referrals: each its own patient, source id and idempotency key.
-- KEY is a coordinator's key, RUN a word that no other run has.
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY")
wrk.headers["Content-Type"] = "application/json"
local run = os.getenv("RUN")
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local head, path, n, mark
function init()
  n = 0
  mark = run .. "-" .. id .. "-"
  path = wrk.path
end
local a = '{"source":{"organization":"Example General Hospital","contact_name":"Example Desk","phone":"+12705550100",'
  .. '"system":"example.hospital","external_id":"R-'
local b = '"},"patient":{"name":{"family":"Example","given":["Pat"]},"birth_date":"1944-05-06","sex":"female",'
  .. '"phones":["+12705550199"],"address":{"lines":["100 Example St"],"city":"Example","state":"KY",'
  .. '"postal_code":"42001"},"identifiers":[{"system":"example.hospital","value":"M-'
local c = '","type":"MR"}]},"ordering_physician":{"npi":"1234567893","name":"Example Physician",'
  .. '"agrees_to_sign":true},"diagnoses":[{"system":"icd-10-cm","code":"I50.9"}],"disciplines":["rn","pt"],'
  .. '"payer":{"type":"medicare","member_id":"1EG4TE5MK73"}}'
function request()
  n = n + 1
  local word = mark .. n
  wrk.headers["Idempotency-Key"] = word
  return wrk.format(nil, path, nil, a .. word .. b .. word .. c)
end
