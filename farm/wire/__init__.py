"""The five links between processes: work, relay, lifeline, pulse, admin.

Each module draws its link and says who may send which word. `sockets` is the one place that knows ZeroMQ.
"""
