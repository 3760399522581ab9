resource "google_project_service" "apis" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "bigquerystorage.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "sqladmin.googleapis.com",
  ])
  service            = each.key
  disable_on_destroy = false
}

locals {
  orders_topic = "send_command"
  host         = "heatfleet-${data.google_project.this.number}.${var.region}.run.app"
  push_url     = "https://${local.host}/pubsub/push"
  store        = "bigquery://${var.project}/${google_bigquery_dataset.heatfleet.dataset_id}"
  bus          = "pubsub://${var.project}/${google_pubsub_topic.orders.name}"
}
