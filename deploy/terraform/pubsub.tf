# As `heatfleet cloud init` makes them; it compares, and names what differs.
resource "google_pubsub_topic" "orders" {
  name       = local.orders_topic
  depends_on = [google_project_service.apis]
}

resource "google_pubsub_subscription" "gateway" {
  name                       = "${google_pubsub_topic.orders.name}-gateway"
  topic                      = google_pubsub_topic.orders.id
  ack_deadline_seconds       = 60
  message_retention_duration = "3600s" # no order lives longer
  enable_message_ordering    = true
  expiration_policy {
    ttl = "" # never
  }
}

resource "google_pubsub_topic" "readings" {
  name       = "readings"
  depends_on = [google_project_service.apis]
}

resource "google_pubsub_topic" "dead_letter" {
  name       = "${google_pubsub_topic.readings.name}-dead-letter"
  depends_on = [google_project_service.apis]
}

resource "google_pubsub_subscription" "dead_letter" {
  name                       = google_pubsub_topic.dead_letter.name
  topic                      = google_pubsub_topic.dead_letter.id
  ack_deadline_seconds       = 60
  message_retention_duration = "2678400s"
  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_subscription" "readings" {
  name                       = google_pubsub_topic.readings.name
  topic                      = google_pubsub_topic.readings.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"
  expiration_policy {
    ttl = ""
  }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = 100
  }
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
  dynamic "push_config" {
    for_each = var.serve && var.push_readings ? [local.push_url] : []
    content {
      push_endpoint = push_config.value
      oidc_token {
        service_account_email = google_service_account.parts["push"].email
        audience              = push_config.value
      }
    }
  }
}
