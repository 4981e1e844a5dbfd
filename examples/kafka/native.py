"""A program that knows Kafka and nothing of busgate: `native.py produce TOPIC KEY TEXT`, `native.py consume TOPIC COUNT`."""

import sys

from confluent_kafka import Consumer, Producer

BROKER = {"bootstrap.servers": "127.0.0.1:9092"}


def produce(topic, key, text):
    producer = Producer(BROKER)
    producer.produce(topic, text, key, headers={"shop": "berlin"}, on_delivery=lambda error, _: sys.exit(str(error)) if error else None)
    if producer.flush(30):
        sys.exit("the record was not taken")


def consume(topic, count):
    consumer = Consumer(BROKER | {"group.id": "native", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    for _ in range(int(count)):
        record = consumer.poll(30)
        if record is None or record.error():
            sys.exit(f"no record: {record and record.error()}")
        print(record.key().decode(), record.value().decode(), dict(record.headers()))
    consumer.close()


{"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
