resource "google_sql_database_instance" "heatfleet" {
  name                = "heatfleet"
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = true
  depends_on          = [google_project_service.apis]

  settings {
    edition           = "ENTERPRISE"
    tier              = var.database_tier
    availability_type = "REGIONAL" # an order is on disk in two zones before the bus has it
    disk_autoresize   = true
    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
    }
    ip_configuration {
      ipv4_enabled = true # for Cloud Run's own way in, which needs roles/cloudsql.client; no network is let in
      ssl_mode     = "ENCRYPTED_ONLY"
    }
    maintenance_window {
      day  = 2
      hour = 12 # a heating fleet is quietest at noon
    }
  }
}

resource "google_sql_database" "heatfleet" {
  name     = "heatfleet"
  instance = google_sql_database_instance.heatfleet.name
}

resource "google_sql_user" "heatfleet" {
  name                = "heatfleet"
  instance            = google_sql_database_instance.heatfleet.name
  password_wo         = var.database_password
  password_wo_version = var.database_password_version
}

resource "google_secret_manager_secret" "database_url" {
  secret_id = "heatfleet-db"
  replication {
    auto {}
  }
  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "database_url" {
  secret                 = google_secret_manager_secret.database_url.id
  secret_data_wo         = "postgresql://heatfleet:${var.database_password}@/heatfleet?host=/cloudsql/${google_sql_database_instance.heatfleet.connection_name}"
  secret_data_wo_version = var.database_password_version
}
