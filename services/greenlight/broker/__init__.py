"""A Knative-compatible broker on one machine: durable, and it imports no ledger and no policy.

An event's way through the files:

    ingress             POST /NAMESPACE/BROKER; `broker` takes what a service of this process publishes
    dispatcher, log/    appended to the log; once that is durable, offered to the Triggers that `routing` finds
    work_queue          queued for one Trigger: `cursor` has its state, `fair_queue` its turn
    worker              a thread of `threads` takes it, and makes an attempt
    delivery            the request of that attempt, sent by `subscribers` to an app here or by `http_client`
    outcomes            what the response means
    settlement          written: the reply, the next retry (`retry_schedule`), or the dead letter
    cursor_writer       a moment later, where the Trigger stands is written
    retention           days later, the event is removed

Which Triggers there are: `manifest_watcher`, `manifests`, `manifest_reader`, then `registry`, and `removal` for those that
are gone. `engine` puts the parts together. What operators see and do: `api`, `operations`, `event_history`, `metrics`.
"""
