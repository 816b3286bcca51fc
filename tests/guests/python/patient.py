"""An `async def` handler: does what the message's subject says."""

import asyncio

from farm.sdk import Message, Reject, message_component, on_start, publish

ready: list[str] = []
left_behind: list[str] = []


@on_start
async def begin() -> None:
    await asyncio.sleep(0)
    ready.append("yes")


@message_component
async def handle(message: Message):
    return await globals()[message.subject.rpartition(".")[2]](message)


async def gathered(message):
    async def slow(number: int) -> str:
        await asyncio.sleep(0.02 / number)
        return str(number)

    publish(Message("beside"))
    answers = await asyncio.gather(slow(1), slow(2), slow(3))
    return [Message(answer) for answer in [*ready, *answers]]


async def failing(message):
    await asyncio.sleep(0)
    raise ValueError("bad total")


async def failing_group(message):
    async with asyncio.TaskGroup() as group:
        group.create_task(refuse())


async def refuse():
    raise Reject("bad input")


async def timing_out(message):
    async with asyncio.timeout(0.01):
        await asyncio.sleep(10)


async def stuck(message):
    await asyncio.Event().wait()


async def leaving(message):
    async def stay():
        try:
            await asyncio.sleep(100)
        finally:
            left_behind.append("cancelled")

    leaving.kept = asyncio.create_task(stay())
    await asyncio.sleep(0)
    return Message("left")


async def left(message):
    return Message.of_json(left_behind)


async def exiting(message):
    raise SystemExit(3)


async def connecting(message):
    return await asyncio.open_connection("example.com", 80)


async def connecting_by_address(message):
    return await asyncio.open_connection("127.0.0.1", 80)


async def serving(message):
    return await asyncio.start_server(print, "127.0.0.1", 0)


async def resolving(message):
    return await asyncio.get_running_loop().getaddrinfo("example.com", 80)


async def threaded(message):
    return await asyncio.to_thread(print)
