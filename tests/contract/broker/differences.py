"""List where Greenlight's broker deliberately differs from Knative's 1.23, and why: the table of docs/broker-differences.md.

A difference that is not here is a defect. Each is shown by cases of test_parity.py or test_admission.py, which are
green only if both brokers do what the entry says.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`rows`: of the contract. `fatal`: it ends a process of Knative's, so only Greenlight is tested."""

    rows: str
    specification: str
    knative: str
    greenlight: str
    why: str
    fatal: bool = False


DIFFERENCES: dict[str, Difference] = {
    # In.
    "acknowledgement": Difference(
        "I10, A2, A3, A5",
        "an event is durably enqueued before it is acknowledged",
        "in memory; without its async annotation it responds after all deliveries and retries, with 500 if one "
        "failed, and stops retrying when the producer disconnects",
        "202 as soon as the event is on the disk, whatever happens later; retries continue if the producer disconnects",
        "the specification; a failing subscriber does not concern the producer, and a producer that repeats "
        "would double every other delivery",
    ),
    "version-0.3": Difference(
        "I2",
        "one of CloudEvents 0.3 and 1.0 at least",
        "accepts both; a 0.3 event with a base64 header passes in some requests and not in others",
        "1.0 only; 400 for others",
        "0.3 was replaced in 2019; one version has one codec. Greenlight's webhooks accept 0.2 and 0.3 and convert "
        "them to 1.0",
    ),
    "malformed-attributes": Difference(
        "I7, D6",
        "names in lower case; optional attributes non-empty; no control characters; integers, no fractions; "
        "source a URI-reference",
        "drops empty ones, lowers names, turns 3.5 into 3, escapes a source; 500 for a line break, and closes "
        "the connection for a header ce-; refuses a blank subject, which is a text",
        "400 that names the attribute, before anything is stored; a blank subject passes",
        "a producer's mistake is reported to the producer; an event is never altered",
    ),
    "structured-data": Difference(
        "I1, I7",
        "data without datacontenttype is JSON; data is base64 in data_base64",
        "refuses JSON of a +json type, and data_base64 after a space; treats a number there as no data; "
        "delivers data without a content type",
        "as specified",
        "the specification; Knative's result depends on white space",
    ),
    "size": Difference(
        "I14",
        "at least 64 KiB",
        "no limit, all of it in memory",
        "1 MiB, then 413",
        "memory of one machine is bounded; Kafka's data plane has the same limit",
    ),
    # Attributes.
    "content-coding": Difference(
        "I14",
        "–",
        "drops the Content-Encoding and delivers the compressed bytes as if they were the data",
        "415 with Accept-Encoding: identity",
        "a subscriber would get bytes that do not match their content type",
    ),
    "time": Difference(
        "I7, D6, §3",
        "RFC 3339; all attributes should arrive identical",
        "rewrites every time to UTC, also for filters; refuses lower case and leap seconds, accepts a "
        "comma; an absent time passes a filter for any time",
        "any RFC 3339 time, passed on and compared as sent; an absent time stays absent",
        "a signature or digest over the attributes survives",
    ),
    "percent-encoding": Difference(
        "D6, §3",
        "header values are percent-encoded UTF-8",
        "neither encodes nor decodes: raw UTF-8 goes out, and a filter must know how the producer wrote it",
        "decodes what comes in and encodes what goes out; filters see the value",
        "the HTTP binding, section 3.1.3.2; printable ASCII without space, quote and percent is the same to both",
    ),
    # Out.
    "format-json": Difference(
        "D1, B10",
        "the JSON event format",
        "data that is not JSON is written raw into the JSON, which is then invalid; +json as a text; "
        "extensions as texts; an event whose data only claims to be JSON is lost",
        "JSON as JSON, all else in data_base64; numbers and booleans stay",
        "nothing is lost, and every reader can parse it",
    ),
    "durations": Difference(
        "B8, §3",
        "ISO 8601",
        "one digit of fraction counts: PT0.09S is no wait; negative durations and years are admitted",
        "all digits count; negative durations, years and months are refused at load",
        "a written wait is observed; an impossible one is a mistake",
    ),
    "redirections": Difference(
        "§2.4",
        "3xx is an error, not retried",
        "follows them; for 301, 302 and 303 it sends a GET without the event, and counts the event as delivered",
        "a dead letter with that reason",
        "the specification; otherwise events are lost silently, and a response could send them anywhere",
    ),
    "reply-202": Difference(
        "§2.4",
        "an event in a 202 must not be taken for a reply",
        "routes it",
        "delivered, not routed; `broker events show` reports it",
        "the specification",
    ),
    "malformed-replies": Difference(
        "§2.4",
        "should count as a failed delivery",
        "depends on the defect: a dead letter without a retry and with the Broker's address as destination, "
        "retried, or delivered (an unknown version without a body)",
        "502: retried, then a dead letter with the subscriber's address and the reason",
        "one rule, and the reason is in the dead letter",
    ),
    "failing-replies": Difference(
        "§2.4",
        "if a reply cannot be accepted, the delivery must be retried",
        "if a Trigger fails on the reply, the reply is sent again to all, and then the original is the dead letter",
        "the reply is stored in the commit that settles its cause; each of its deliveries succeeds or fails by itself",
        "no duplicate for the others, and the dead letter is the event that could not be delivered",
    ),
    # Dead letters.
    "reasons": Difference(
        "L6, §2.4",
        "–",
        "knativeerrordest, -code and -data are missing after a timeout, after a 2xx whose body is no event, "
        "after an unreadable reply and after 304",
        "always present; 502 for such a body, 500 if there was no response",
        "a dead letter without a reason is no help",
    ),
    "long-answers": Difference(
        "L4",
        "–",
        "with a dead-letter sink, an error response over 768 bytes ends the dispatcher, and loses all events in flight",
        "knativeerrordata has its first 768 bytes",
        "it is a bug",
        fatal=True,
    ),
    "stale-reasons": Difference(
        "L7",
        "–",
        "keeps the knativeerror attributes that an event came with, also from an earlier failure",
        "replaces all three",
        "they would describe another failure",
    ),
    # Filters and manifests.
    "cesql-no-boolean": Difference(
        "§3",
        "the result is cast to a boolean, or it is an error, which is no match",
        "panics; the delivery is retried, then dead-lettered without a reason",
        "no match",
        "it is a bug",
    ),
    "empty-not": Difference(
        "§3",
        "not has one filter",
        "admits `not: {}`, and its filter process ends, for all Brokers",
        "refused at load",
        "it is a bug",
        fatal=True,
    ),
    "empty-filters": Difference(
        "§3",
        "values are non-empty",
        "admits an empty value in exact, prefix or suffix, and then ignores the whole item: everything passes",
        "refused at load",
        "a filter that selects too much is worse than none",
    ),
    "cesql-values": Difference(
        "§3",
        "characters; 32 bits; % is any text",
        "counts bytes, wraps around, and does not find a % in a text",
        "characters; an error beyond 32 bits",
        "the specification; [more of CESQL](broker-filters.md#where-greenlight-differs-from-knative-123)",
    ),
    "cesql-checks": Difference(
        "§3",
        "–",
        "admits calls of unknown functions or with wrong parameters, so that no event ever "
        "passes; and drops meaningless characters",
        "refused at load, with the place",
        "the mistake is known before the first event",
    ),
    "unresolved": Difference(
        "§2.8, §3, L2",
        "a Trigger whose Broker, subscriber or sink cannot be resolved is not Ready",
        "admitted, not Ready, with the reason in its status; a non-http address is admitted and fails at delivery",
        "refused at load: there is no status to look at. Only refs to Knative Services have a meaning without"
        " a cluster",
        "a mistake is reported at once, with file and line",
    ),
    "dependencies": Difference(
        "§3",
        "–",
        "a Trigger with the annotation knative.dev/dependency waits for that source to be Ready",
        "the annotation is ignored",
        "there are no sources here; manifests of a cluster still load",
    ),
    "certificates": Difference(
        "§3",
        "optional",
        "CACerts and audience of a destination are used for TLS and OIDC",
        "refused at load as unknown fields",
        "not supported; ignoring them would send events without the requested protection",
    ),
}

HEAD = """\
# Where Greenlight's broker differs from Knative's

{cases} cases from Knative's data-plane contract and its own test tables, and {manifests} manifests, are given to this
broker and to Knative's multi-tenant broker 1.23 (with its admission webhook). Both must give the same result, except
for the rows of this table. A case that shows a difference names its row, and passes only if each broker behaves as the
row says. A difference that is not here is a defect of Greenlight.

| difference | rows | the specification | Knative 1.23 | Greenlight | why |
| --- | --- | --- | --- | --- | --- |
"""

TAIL = """
*Rows* are those of the tests' names: I ingress, A fan-out and acknowledgement, D delivery, B back-off, L dead letters,
§2.4 responses and replies, §2.8 life cycle, §3 filters and manifests. A difference with † ends a process of Knative's
for all Brokers, so only Greenlight's side is shown by a test.

## How it was tested

The tests observe only HTTP: requests to a Broker's address, and what real HTTP servers on 127.0.0.1 receive as
subscribers. Both brokers get the same Brokers, Triggers, responses and events. Knative's broker runs unmodified, as
plain processes with a real Kubernetes API server ([tests/cluster](../tests/cluster/README.md)), and in its default,
synchronous mode. In that mode it responds to the producer when every retry, reply and dead letter is over, so a test
need not guess when nothing more will come. The cases are in `tests/contract/broker/cases_*.py`, the manifests in
`test_admission.py`:

```console
$ . "$(tests/cluster/cluster up)"
$ .venv/bin/pytest tests/contract/broker/test_parity.py tests/contract/broker/test_admission.py
```

Any cluster that reaches servers on this machine will do. The tests find it by `KUBECONFIG`, `BROKER_INGRESS` and
`BROKER_SUBSCRIBERS`. Without these, the half on Knative is skipped.
"""


def page(cases: int, manifests: int) -> str:
    """docs/broker-differences.md."""
    rows = (
        f"| {name}{' †' if it.fatal else ''} | {it.rows} | {it.specification} | {it.knative} | {it.greenlight} | {it.why} |\n"
        for name, it in DIFFERENCES.items()
    )
    return HEAD.format(cases=cases, manifests=manifests) + "".join(rows) + TAIL
