"""Orders over Google Pub/Sub: published through Google's client, each device's in the order they were given.

``address``   what the URL means      ``connect``   Google's clients for it
``bus``       publishing              ``topic``     whether the topic is there, and who listens
``words``     what Pub/Sub says, as something to do
``setup``     topics and subscriptions, made and looked at
"""
