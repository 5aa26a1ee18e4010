"""The gateway's Prometheus metrics.

Names are stable; labels never hold ids or anything that a person wrote.
"""

from prometheus_client import Counter, Gauge, Histogram

REFUSED = Counter(
    "goalkeeper_gateway_refused_answers", "Answers that were turned away.", ["code", "channel"]
)
OPEN_REQUESTS = Gauge(
    "goalkeeper_gateway_open_requests", "Approval requests open when the inbox was last read."
)
SIGN_IN_FAILURES = Counter(
    "goalkeeper_gateway_sign_in_failures", "Requests with a wrong token or none."
)
SUBMISSIONS = Counter("goalkeeper_gateway_submissions", "Submissions attested.")
UNDELIVERED = Gauge(
    "goalkeeper_gateway_undelivered_decisions", "Recorded decisions that wait for Temporal."
)
LATENCY = Histogram(
    "goalkeeper_gateway_request_seconds",
    "Time to answer, by route.",
    ["route", "status"],
)
