"""A program that knows NATS and nothing of busgate: `native.py publish SUBJECT TEXT`, `native.py read SUBJECT COUNT`."""

import asyncio
import sys

import nats


async def main(verb, subject, argument):
    client = await nats.connect("nats://127.0.0.1:4222")
    jetstream = client.jetstream()
    if verb == "publish":
        place = await jetstream.publish(subject, argument.encode(), headers={"shop": "berlin"})
        print(f"{place.stream} {place.seq}")
    else:
        messages = await jetstream.subscribe(subject, ordered_consumer=True)
        for _ in range(int(argument)):
            message = await messages.next_msg(timeout=10)
            print(message.data.decode(), message.headers)
    await client.close()


asyncio.run(main(*sys.argv[1:]))
