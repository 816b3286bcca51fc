"""For those who test what they add to farm. Needs pytest and pytest-asyncio."""
