# One account for each part, with the least roles. tests/cloud/test_deploy.py holds them against `heatfleet cloud init`.
resource "google_service_account" "parts" {
  for_each = {
    server    = "Serves HTTP"
    rollup    = "Turns readings into figures"
    consume   = "Reads readings from Pub/Sub"
    gateway   = "Reads orders for the devices"
    init      = "Makes tables"
    push      = "Signs what Pub/Sub pushes"
    scheduler = "Starts the rollup"
  }
  account_id   = "heatfleet-${each.key}"
  display_name = "Heatfleet: ${each.value}"
  depends_on   = [google_project_service.apis]
}

locals {
  member = { for part, account in google_service_account.parts : part => account.member }
  # There once `gcloud beta services identity create --service pubsub.googleapis.com` ran: Terraform has that in its beta
  # provider alone, and a second provider for one account is too much.
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_bigquery_dataset_iam_member" "server_data" {
  dataset_id = google_bigquery_dataset.heatfleet.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.member.server
}

resource "google_project_iam_member" "server_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.member.server
}

resource "google_pubsub_topic_iam_member" "server_publish" {
  topic  = google_pubsub_topic.orders.id
  role   = "roles/pubsub.publisher"
  member = local.member.server
}

resource "google_pubsub_topic_iam_member" "server_look" {
  topic  = google_pubsub_topic.orders.id
  role   = "roles/pubsub.viewer"
  member = local.member.server
}

resource "google_project_iam_member" "server_database" {
  project = var.project
  role    = "roles/cloudsql.client"
  member  = local.member.server
}

resource "google_secret_manager_secret_iam_member" "server_database_url" {
  secret_id = google_secret_manager_secret.database_url.id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member.server
}

resource "google_bigquery_dataset_iam_member" "rollup_data" {
  dataset_id = google_bigquery_dataset.heatfleet.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.member.rollup
}

resource "google_project_iam_member" "rollup_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.member.rollup
}

resource "google_bigquery_dataset_iam_member" "consume_data" {
  dataset_id = google_bigquery_dataset.heatfleet.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.member.consume
}

resource "google_project_iam_member" "consume_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.member.consume
}

resource "google_pubsub_subscription_iam_member" "consume_readings" {
  subscription = google_pubsub_subscription.readings.name
  role         = "roles/pubsub.subscriber"
  member       = local.member.consume
}

resource "google_pubsub_subscription_iam_member" "consume_look" {
  subscription = google_pubsub_subscription.readings.name
  role         = "roles/pubsub.viewer"
  member       = local.member.consume
}

resource "google_pubsub_subscription_iam_member" "gateway_orders" {
  subscription = google_pubsub_subscription.gateway.name
  role         = "roles/pubsub.subscriber"
  member       = local.member.gateway
}

# The dataset is there, and topics are Terraform's: so the job needs less than whoever runs `heatfleet cloud init` first.
resource "google_bigquery_dataset_iam_member" "init_data" {
  dataset_id = google_bigquery_dataset.heatfleet.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.member.init
}

resource "google_project_iam_member" "init_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.member.init
}

resource "google_pubsub_topic_iam_member" "pubsub_dead_letters" {
  topic  = google_pubsub_topic.dead_letter.id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "pubsub_readings" {
  subscription = google_pubsub_subscription.readings.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# Google gives it by itself in projects that were made after April 2021.
resource "google_service_account_iam_member" "pubsub_push_tokens" {
  service_account_id = google_service_account.parts["push"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}

resource "google_cloud_run_v2_job_iam_member" "scheduler_rollup" {
  name     = google_cloud_run_v2_job.rollup.name
  location = var.region
  role     = "roles/run.invoker"
  member   = local.member.scheduler
}
