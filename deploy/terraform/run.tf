# A service whose first start fails is there, but not for Terraform, which then stumbles over it: so it comes second.
resource "google_cloud_run_v2_service" "heatfleet" {
  count = var.serve ? 1 : 0

  name                = "heatfleet"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = false
  depends_on          = [google_secret_manager_secret_version.database_url]
  # Every request needs a key of Heatfleet's, or from Pub/Sub a token of the account push, which the server verifies.
  # Cloud Run would check Google's tokens itself, and may replace their signature as it hands them on.
  invoker_iam_disabled = true

  template {
    service_account                  = google_service_account.parts["server"].email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = 1000    # most requests wait for one append that many share
    timeout                          = "3600s" # devices and gateways listen for orders as long
    scaling {
      min_instance_count = var.servers_min
      max_instance_count = var.servers_max
    }
    volumes {
      name = "cloudsql"
      cloud_sql_instance {
        instances = [google_sql_database_instance.heatfleet.connection_name]
      }
    }
    containers {
      image = var.image
      args  = ["serve"]
      ports {
        name           = "http1"
        container_port = 8000
      }
      resources {
        limits = {
          cpu    = "2"
          memory = "2Gi"
        }
        cpu_idle          = false # appends, orders and streams go on between two requests
        startup_cpu_boost = true
      }
      volume_mounts {
        name       = "cloudsql"
        mount_path = "/cloudsql"
      }
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60
        http_get {
          path = "/livez"
          port = 8000
        }
      }
      liveness_probe {
        period_seconds    = 15
        timeout_seconds   = 5
        failure_threshold = 4
        http_get {
          path = "/livez"
          port = 8000
        }
      }
      env {
        name = "HEATFLEET_DB"
        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.database_url.secret_id
            version = "latest"
          }
        }
      }
      dynamic "env" {
        for_each = {
          HEATFLEET_STORE          = local.store
          HEATFLEET_BUS            = local.bus
          HEATFLEET_HOST           = "0.0.0.0"
          HEATFLEET_PORT           = "8000"
          HEATFLEET_KEYS           = "required"
          HEATFLEET_ALLOWED_HOSTS  = local.host
          HEATFLEET_ROLLUP_EVERY_S = "0" # the job does it, once for all servers
          HEATFLEET_PUSH_AUDIENCE  = local.push_url
          HEATFLEET_PUSH_ACCOUNT   = google_service_account.parts["push"].email
          HEATFLEET_LOG_FORMAT     = "json"
        }
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }
}

resource "google_cloud_run_v2_job" "rollup" {
  name                = "heatfleet-rollup"
  location            = var.region
  deletion_protection = false
  depends_on          = [google_project_service.apis]

  template {
    task_count  = 1
    parallelism = 1
    template {
      service_account       = google_service_account.parts["rollup"].email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      timeout               = "1800s"
      max_retries           = 0 # the next one makes good what this one did not do
      containers {
        image = var.image
        args  = ["rollup"]
        env {
          name  = "HEATFLEET_STORE"
          value = local.store
        }
        env {
          name  = "HEATFLEET_LOG_FORMAT"
          value = "json"
        }
        resources {
          limits = {
            cpu    = "1"
            memory = "512Mi"
          }
        }
      }
    }
  }
}

# Run it before the first start and after each update of the image:
#   gcloud run jobs execute heatfleet-init --region REGION --wait
resource "google_cloud_run_v2_job" "init" {
  name                = "heatfleet-init"
  location            = var.region
  deletion_protection = false
  depends_on          = [google_project_service.apis]

  template {
    template {
      service_account = google_service_account.parts["init"].email
      timeout         = "600s"
      max_retries     = 0
      containers {
        image = var.image
        args  = ["cloud", "init"]
        env {
          name  = "HEATFLEET_STORE"
          value = local.store
        }
      }
    }
  }
}

resource "google_cloud_scheduler_job" "rollup" {
  count = var.serve ? 1 : 0

  name             = "heatfleet-rollup"
  region           = var.region
  schedule         = var.rollup_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"
  depends_on       = [google_project_service.apis]

  retry_config {
    retry_count = 0
  }
  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.rollup.id}:run"
    oauth_token {
      service_account_email = google_service_account.parts["scheduler"].email
    }
  }
}
