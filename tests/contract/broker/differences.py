"""Where our broker deliberately differs from Knative's 1.23, and why: the one table, which docs/broker-differences.md shows.

A difference that is not here is a mistake of ours. Each is shown by cases of test_parity.py or test_admission.py, which are
green only if both brokers do what the entry says.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`rows`: of the contract. `fatal`: what shows it ends a process of Knative's, so that only our side is tested."""

    rows: str
    specification: str
    knative: str
    ours: str
    why: str
    fatal: bool = False


DIFFERENCES: dict[str, Difference] = {
    # In.
    "acknowledgement": Difference(
        "I10, A2, A3, A5",
        "an event is durably enqueued before it is acknowledged",
        "in memory; without its async annotation it answers after all deliveries and retries, 500 if one "
        "failed, and stops retrying when the producer goes away",
        "202 as soon as the event is on the disk, whatever becomes of it; retries go on whoever goes away",
        "the specification; a failing subscriber is not the producer's business, and a repeating producer "
        "would double every other delivery",
    ),
    "version-0.3": Difference(
        "I2",
        "one of CloudEvents 0.3 and 1.0 at least",
        "takes both; whether a 0.3 event with a base64 header passes changes from one request to the next",
        "1.0 only; 400 for others",
        "0.3 was replaced in 2019; one version has one codec. Greenlight's webhooks take 0.2 and 0.3 and make"
        " 1.0 of them",
    ),
    "malformed-attributes": Difference(
        "I7, D6",
        "names in lower case; optional attributes non-empty; no control characters; integers, no fractions; "
        "source a URI-reference",
        "drops empty ones, lowers names, makes 3 of 3.5, escapes a source; 500 for a line break, and closes "
        "the connection for a header ce-; refuses a blank subject, which is a text",
        "400 that names the attribute, before anything is stored; a blank subject passes",
        "a producer's mistake is told to the producer; an event is never altered",
    ),
    "structured-data": Difference(
        "I1, I7",
        "data without datacontenttype is JSON; data is base64 in data_base64",
        "refuses JSON of a +json type, and data_base64 after a space; takes a number there for no data; "
        "delivers data without a content type",
        "as specified",
        "the specification; Knative's verdict depends on white space",
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
        "drops the Content-Encoding and delivers what is packed as if it were the data",
        "415 with Accept-Encoding: identity",
        "a subscriber would get bytes that are not what their content type says",
    ),
    "time": Difference(
        "I7, D6, §3",
        "RFC 3339; all attributes should arrive identical",
        "rewrites every time to UTC, and filters see it so; refuses lower case and leap seconds, takes a "
        "comma; an absent time passes a filter for any time",
        "any RFC 3339 time, passed on and compared as it was sent; absent is absent",
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
        "data that is not JSON is written raw into a JSON text, which is then none; +json as a text; "
        "extensions as texts; an event whose data only claims to be JSON is lost",
        "JSON as JSON, all else in data_base64; numbers and booleans stay",
        "nothing is lost, and every reader can parse it",
    ),
    "durations": Difference(
        "B8, §3",
        "ISO 8601",
        "one digit of fraction counts: PT0.09S is no wait; negative ones and years are admitted",
        "all digits count; negative ones, years and months are refused at load",
        "a wait that is written is waited; one that cannot be is a mistake",
    ),
    "redirections": Difference(
        "§2.4",
        "3xx is an error, not retried",
        "follows them; of 301, 302 and 303 it makes a GET without the event, and counts it as delivered",
        "a dead letter that says so",
        "the specification; otherwise events are lost in silence, and an answer could send them anywhere",
    ),
    "reply-202": Difference(
        "§2.4",
        "an event in a 202 must not be taken for a reply",
        "routes it",
        "delivered, not routed, and the event's story tells",
        "the specification",
    ),
    "malformed-replies": Difference(
        "§2.4",
        "should count as a failed delivery",
        "depends on what is wrong: not retried and dead with the Broker's address as destination, retried, or"
        " delivered (an unknown version without a body)",
        "502: retried, then a dead letter with the subscriber's address that says what is wrong",
        "one rule, and the reason where somebody looks for it",
    ),
    "failing-replies": Difference(
        "§2.4",
        "if a reply cannot be accepted, the delivery must be retried",
        "if some Trigger fails on the reply, it is sent again to all, and then the original is the dead letter",
        "the reply is stored in the commit that settles its cause; each of its deliveries succeeds or dies by itself",
        "no duplicate for the others, and the dead letter is the event that could not be delivered",
    ),
    # Dead letters.
    "reasons": Difference(
        "L6, §2.4",
        "–",
        "knativeerrordest, -code and -data are missing after a timeout, after a 2xx whose body is no event, "
        "after an unreadable reply and after 304",
        "always there; 502 for such a body, 500 where nothing answered",
        "a dead letter without a reason helps nobody",
    ),
    "long-answers": Difference(
        "L4",
        "–",
        "an error answer over 768 bytes, where there is a dead-letter sink, ends the dispatcher, and all "
        "events in flight with it",
        "knativeerrordata has its first 768 bytes",
        "it is a bug",
        fatal=True,
    ),
    "stale-reasons": Difference(
        "L7",
        "–",
        "keeps the knativeerror attributes that an event came with, also from an earlier death",
        "replaces all three",
        "they would tell of another failure",
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
        "admits an empty value in exact, prefix or suffix, and then leaves the whole item out: everything passes",
        "refused at load",
        "a filter that passes what it should not is worse than none",
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
        "admits calls of functions that are not there or have other parameters, so that no event ever "
        "passes; and drops characters that mean nothing",
        "refused at load, with the place",
        "it can be known before the first event",
    ),
    "unresolved": Difference(
        "§2.8, §3, L2",
        "a Trigger whose Broker, subscriber or sink cannot be resolved is not Ready",
        "admitted, not Ready, and told in its status; an address that is not http is admitted and fails at delivery",
        "refused at load: there is no status to look at. Only refs to Knative Services have a meaning without"
        " a cluster",
        "a mistake is told when it is made, with file and line",
    ),
    "dependencies": Difference(
        "§3",
        "–",
        "a Trigger with the annotation knative.dev/dependency waits for that source to be Ready",
        "the annotation is not looked at",
        "there are no sources here; manifests of a cluster load all the same",
    ),
    "certificates": Difference(
        "§3",
        "optional",
        "CACerts and audience of a destination are used for TLS and OIDC",
        "refused at load as unknown fields",
        "not supported; to ignore them would send events without the protection that was asked for",
    ),
}

HEAD = """\
# Where our broker differs from Knative's

Everything else is the same: {cases} cases from Knative's data-plane contract and its own test tables, and {manifests}
manifests, are given to this broker and to Knative's multi-tenant broker 1.23 (with its admission webhook), and both must
give the same verdict. Where they do not, the case names a row of this table and passes only if each broker does what the
row says. A difference that is not here is a bug of ours.

| | rows | the specification | Knative 1.23 | ours | why |
| --- | --- | --- | --- | --- | --- |
"""

TAIL = """
*Rows* are those of the tests' names: I ingress, A fan-out and acknowledgement, D delivery, B back-off, L dead letters,
§2.4 answers and replies, §2.8 life cycle, §3 filters and manifests. † ends a process of Knative's for all Brokers, so it is
shown on our side only.

## How it was tested

Nothing is looked at but HTTP: requests to a Broker's address, and what real HTTP servers on 127.0.0.1 get as subscribers.
Both brokers are given the same Brokers, Triggers, answers and events. Knative's runs unmodified, as plain processes with a
real Kubernetes API server ([tests/cluster](../tests/cluster/README.md)), and in its default, synchronous mode: it answers
the producer when every retry, reply and dead letter is over, so no test has to guess when nothing more will come. The cases
are in `tests/contract/broker/cases_*.py`, the manifests in `test_admission.py`:

```console
$ . "$(tests/cluster/cluster up)"
$ .venv/bin/pytest tests/contract/broker/test_parity.py tests/contract/broker/test_admission.py
```

Any cluster that reaches servers on this machine will do: the tests know it by `KUBECONFIG`, `BROKER_INGRESS` and
`BROKER_SUBSCRIBERS`. Without these the half on Knative is skipped.
"""


def page(cases: int, manifests: int) -> str:
    """docs/broker-differences.md."""
    rows = (
        f"| {name}{' †' if it.fatal else ''} | {it.rows} | {it.specification} | {it.knative} | {it.ours} | {it.why} |\n"
        for name, it in DIFFERENCES.items()
    )
    return HEAD.format(cases=cases, manifests=manifests) + "".join(rows) + TAIL
