"""Everything that is measured, each metric with its help text; ``GET /metrics`` shows them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

COMMIT_SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
COMMIT_READINGS_BUCKETS = (1, 4, 16, 64, 256, 1_000, 4_000, 16_000, 64_000)


class Metrics:
    """The metrics of one server, in a registry of their own. They count from the start of the process."""

    def __init__(self) -> None:
        # A second series for each one, that nothing here needs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "heatfleet_messages", "Device messages accepted: all they hold is durable.", registry=self.registry
        )
        self.readings = Counter(
            "heatfleet_readings", "Readings made durable, repeated ones included.", registry=self.registry
        )
        self.rejected = Counter(
            "heatfleet_rejected",
            "Messages, and whole requests to POST /message and /pubsub/push, refused, by the slug of their problem.",
            ["reason"],
            registry=self.registry,
        )
        self.properties_dropped = Counter(
            "heatfleet_properties_dropped",
            "Properties of accepted messages that are not kept: their code is not one of ours.",
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "heatfleet_commit_seconds",
            "Seconds one commit of readings took, to the disk or to BigQuery. When it grows, that is slow or shared.",
            buckets=COMMIT_SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.commit_readings = Histogram(
            "heatfleet_commit_readings",
            "Readings that shared one commit.",
            buckets=COMMIT_READINGS_BUCKETS,
            registry=self.registry,
        )
        self.readings_set_aside = Gauge(
            "heatfleet_readings_set_aside",
            "Readings that BigQuery refused one by one and that lie in its table dead_letter. Not 0: look there.",
            registry=self.registry,
        )
        self.queue_readings = Gauge(
            "heatfleet_queue_readings",
            "Readings accepted and not yet answered. At HEATFLEET_QUEUE_READINGS_MAX new ones are refused.",
            registry=self.registry,
        )
        self.rollup_lag_seconds = Gauge(
            "heatfleet_rollup_lag_seconds",
            "Age of the oldest reading that no figure counts yet. When it grows, the rollup has stopped.",
            registry=self.registry,
        )
        self.commands = Counter(
            "heatfleet_commands",
            "Orders, by the state they took: accepted, published, failed, repeated, refused.",
            ["state"],
            registry=self.registry,
        )
        self.http_answers = Counter(
            "heatfleet_http_answers",
            "Answers given, by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
