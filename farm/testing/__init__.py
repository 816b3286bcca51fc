"""For those who test what they add to farm. Needs pytest, and pytest-asyncio 1.5 or later."""
