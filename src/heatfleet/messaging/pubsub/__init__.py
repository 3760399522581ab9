"""Google Pub/Sub: orders out, each device's in the order they were given, and readings in.

``address``   what the URL means      ``connect``   Google's clients for it
``bus``       publishing              ``topic``     whether the topic is there, and who listens
``tokens``    who may push readings   ``subscription``   pulling readings
``setup``     makes what is missing   ``look``      what doctor asks
``words``     what Pub/Sub says, as something to do
"""
