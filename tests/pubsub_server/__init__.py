"""A Pub/Sub server for tests: what Google's clients speak to, over real gRPC, in a process of its own.

``handle``     starts the process, tells it which faults to play, asks it what it has
``broker``     topics, subscriptions, what is kept, delivered and leased
``services``   the methods of the API that Google's clients call, and the limits the real server enforces
``faults``     what goes wrong on purpose

It keeps to what Google documents and to what its errors are known to say; nothing here was compared with the real
service. It has no retention, no filters and no exactly-once delivery; push subscriptions are kept, and nothing is
pushed. Dead letters are moved as soon as they have had their attempts.
Of one ordering key one message is under way at a time, where the real one may hand out more.
"""

from tests.pubsub_server.handle import PubSubServer

__all__ = ["PubSubServer"]
