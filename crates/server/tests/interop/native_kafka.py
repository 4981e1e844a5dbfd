"""`confluent-kafka` beside the gateway, by the table "On the brokers": records on one side, messages on the other."""

import os
import time
import uuid

from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

import doors
import judge
from doors import Message, TRACE, read_everywhere, register, unique
from judge import EVERY_BYTE, check, scenario

SERVERS = {"bootstrap.servers": os.environ["BUSGATE_BROKER"].split("//")[1]}
DEADLINE = 60

# What a client tells of a group whose coordinator is not there yet, and waits out by itself: a broker that has just
# started makes it for the first group.
COLD = (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR)

CLOUD_EVENT = {"ce_specversion": "1.0", "ce_type": "com.example.order", "ce_source": "/shop/7", "ce_id": "e-1",
               "ce_subject": "h\u00e9"}

admin = AdminClient(SERVERS)


def topic(name, partitions=1):
    """A topic as its owner made it, and a way to tell whether it is still that."""
    made = NewTopic(name, partitions, 1, config={"retention.ms": "86400000", "max.message.bytes": "2000000"})
    admin.create_topics([made])[name].result(DEADLINE)

    def told():
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        configs = once_known(lambda: admin.describe_configs([resource])[resource].result(DEADLINE))
        return {key: entry.value for key, entry in configs.items()} | {"partitions": partitions_of(name)}

    before = told()
    return lambda: check("nothing changed on the topic", told(), before)


def once_known(ask):
    """The answer to a question about a topic: a broker hears of one a moment after the controller has made it."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return ask()
        except KafkaException as failed:
            if failed.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def partitions_of(name):
    return once_known(lambda: len(admin.list_topics(name, timeout=DEADLINE).topics[name].partitions))


def produced(name, records, **settings):
    """Produces (expected, record fields); the place is the message's id where the record tells none."""
    producer = Producer(SERVERS | {"enable.idempotence": True} | settings)
    for expected, record in records:
        def delivered(error, message, expected=expected):
            check("produced", error, None)
            expected.id = expected.id or f"{message.partition()}-{message.offset()}"
            expected.timestamp = message.timestamp()[1]

        producer.produce(name, on_delivery=delivered, **record)
    check("all sent", producer.flush(DEADLINE), 0)
    return [expected for expected, _ in records]


def of_every_sort():
    """Native records, and how they are to arrive. Every payload is another, to tell them by over several partitions."""
    ours = {"busgate-id": "m-7", "busgate-source": "billing", "content-type": "image/png", "shop": "7",
            "Case-Kept": "h\u00e9 \u2603", "busgate-meta-Content-Type": "its own"} | TRACE
    metadata = {"shop": "7", "Case-Kept": "h\u00e9 \u2603", "Content-Type": "its own"} | TRACE
    return [
        (Message(payload=EVERY_BYTE), {"value": EVERY_BYTE, "timestamp": 1700000000123}),
        # A tombstone: no value at all.
        (Message(payload=b"", key="gone"), {"value": None, "key": "gone"}),
        (Message(payload=b"keyed", key="customer-8"), {"value": b"keyed", "key": "customer-8"}),
        (Message(payload=b"h", metadata={"shop": "7"} | TRACE), {"value": b"h", "headers": {"shop": "7"} | TRACE}),
        (Message(payload=b"raw", metadata={"kind": "k"}),
         {"value": b"raw", "headers": [("raw", b"\xff\xfe"), ("null", None), ("kind", "k")]}),
        (Message(payload=b"typed", content_type="text/csv"), {"value": b"typed", "headers": {"Content-Type": "text/csv"}}),
        (Message(payload=EVERY_BYTE * 2, id="m-7", key="customer-7", source="billing", content_type="image/png",
                 metadata=metadata),
         {"value": EVERY_BYTE * 2, "key": "customer-7", "headers": ours}),
        (Message(payload=b'{"n": 1}', content_type="application/json", metadata=CLOUD_EVENT),
         {"value": b'{"n": 1}', "headers": CLOUD_EVENT | {"content-type": "application/json"}}),
    ]


def by_payload(message):
    return message.payload


@scenario
def what_is_produced_arrives_on_every_door():
    event = unique("interop.kafka")
    unchanged = topic(event, 3)
    read_everywhere(event, produced(event, of_every_sort()), order=by_payload)
    register(event)
    unchanged()


@scenario
def every_compression_is_read():
    event = unique("interop.kafka")
    topic(event)
    expected = []
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        payload = codec.encode() * 1000
        expected += produced(event, [(Message(payload=payload), {"value": payload})], **{"compression.type": codec})
    read_everywhere(event, expected)


@scenario
def what_was_aborted_does_not_arrive():
    event = unique("interop.kafka")
    topic(event)
    producer = Producer(SERVERS | {"transactional.id": uuid.uuid4().hex})
    producer.init_transactions(DEADLINE)
    for word in ("one", "two", "three", "four"):
        producer.begin_transaction()
        producer.produce(event, word.encode())
        if word in ("two", "four"):
            # Or it would be taken back before it was written.
            producer.flush(DEADLINE)
            producer.abort_transaction(DEADLINE)
        else:
            producer.commit_transaction(DEADLINE)
    read_everywhere(event, [Message(payload=b"one"), Message(payload=b"three")])


def as_headers(message):
    """The table's column for Kafka; what is absent is left out."""
    headers = {"busgate-id": message.id, "busgate-source": message.source, "content-type": message.content_type}
    for name, value in message.metadata.items():
        ours = name.lower() == "content-type" or name.lower().startswith("busgate-")
        headers[f"busgate-meta-{name}" if ours else name] = value
    return {name: value.encode() for name, value in headers.items() if value is not None}


def consumer(group=None, **settings):
    return Consumer(SERVERS | {"group.id": group or uuid.uuid4().hex, "auto.offset.reset": "earliest",
                               "enable.auto.commit": False} | settings)


def consumed(client, count):
    """The next records, none of them an error that the client does not get over by itself."""
    records, until = [], time.monotonic() + DEADLINE
    while len(records) < count and time.monotonic() < until:
        record = client.poll(0.5)
        if record is None or (record.error() and record.error().code() in COLD):
            continue
        check("a record", record.error(), None)
        records.append(record)
    check("as many as there must be", len(records), count)
    return records


def read_natively(name, messages, began):
    """The topic holds what was sent and nothing else."""
    client = consumer()
    client.assign([TopicPartition(name, partition, 0) for partition in range(partitions_of(name))])
    records = consumed(client, len(messages))
    check("nothing else", client.poll(1), None)
    client.close()
    of_id = {record.headers() and dict(record.headers()).get("busgate-id"): record for record in records}
    for door, message in messages:
        check(f"{door}: its id is there", message.id.encode() in of_id, True)
        record = of_id[message.id.encode()]
        check(f"{door}: value", record.value(), message.payload)
        check(f"{door}: key", record.key(), message.key and message.key.encode())
        check(f"{door}: headers", sorted(record.headers()), sorted(as_headers(message).items()))
        kind, at = record.timestamp()
        check(f"{door}: of when it was created", kind, TIMESTAMP_CREATE_TIME)
        check(f"{door}: which is now", began - 1000 <= at <= time.time() * 1000 + 1000, True)
    return records


@scenario
def what_the_doors_publish_reads_naturally():
    event = register(unique("interop.kafka"))
    began, messages = int(time.time() * 1000), []
    sorts = doors.every_sort("m") + [Message(payload=b"ce", content_type="text/plain", metadata=CLOUD_EVENT)]
    for message in sorts:
        messages += doors.publish_everywhere(event, message)
    hostile = Message(payload=b"c", source="remote",
                      metadata={"Content-Type": "its own", "busgate-id": "x", "BUSGATE-meta-k": "y", "Case-Kept": "z"})
    hostile.id = doors.by_grpc(event, hostile)
    messages.append(("metadata named as headers of ours", hostile))
    records = read_natively(event, messages, began)
    keyed = {record.partition() for record in records if record.key() == b"customer-7"}
    check("a key has one partition", len(keyed), 1)
    got = {message.id: message.metadata for message in doors.history(event, len(messages))}
    check("and back again", got, {message.id: message.metadata for _, message in messages})


@scenario
def a_native_group_is_undisturbed():
    event = unique("interop.kafka")
    topic(event)
    register(event)
    group = f"native-{uuid.uuid4().hex}"
    for n in range(4):
        doors.by_rest(event, Message(payload=b"%d" % n))
    place = TopicPartition(event, 0)
    native = consumer(group)
    native.subscribe([event])
    first = consumed(native, 2)
    check("in order", [record.value() for record in first], [b"0", b"1"])
    native.commit(message=first[-1], asynchronous=False)
    for reader in (doors.subscribe_pool, doors.subscribe_named, doors.sse_pool):
        check(f"all of it by {reader.__name__}", [message.payload for message in reader(event, 4)], [b"0", b"1", b"2", b"3"])
    check("its place is its own", native.committed([place], DEADLINE)[0].offset, 2)
    check("the rest is still new to it", [record.value() for record in consumed(native, 2)], [b"2", b"3"])
    check("it still has its partition", native.assignment()[0].topic, event)
    native.close()


@scenario
def a_mapped_topic_is_the_event():
    event, name = os.environ["BUSGATE_MAPPED"].split("=")
    unchanged = topic(name, 2)
    expected = produced(name, of_every_sort())
    read_everywhere(event, expected, order=by_payload)
    register(event)
    unchanged()
    check("no topic of the event's own name", event in admin.list_topics(timeout=DEADLINE).topics, False)
    other = consumer()
    other.assign([TopicPartition(name, partition, 0) for partition in range(2)])
    consumed(other, len(expected))
    sent = doors.publish_everywhere(event, Message(payload=b"x", key="k"))
    check("in the topic", sorted(dict(record.headers())["busgate-id"].decode() for record in consumed(other, len(sent))),
          sorted(message.id for _, message in sent))
    other.close()


@scenario
def a_prefix_stands_in_front():
    event, prefix = unique("interop"), os.environ["BUSGATE_PREFIX"]
    register(event)
    began = int(time.time() * 1000)
    messages = doors.publish_everywhere(event, Message(payload=b"x"))
    read_natively(prefix + event, messages, began)
    read_everywhere(event, [message for _, message in messages], order=lambda message: message.id)


judge.run()
