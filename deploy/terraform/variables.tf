variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Where servers, jobs and PostgreSQL run, such as europe-west1."
  type        = string
}

variable "location" {
  description = "Where the dataset lies: EU, US or a region. It cannot be moved."
  type        = string
  default     = "EU"
}

variable "image" {
  description = "The image built from the Dockerfile, with its digest: REGION-docker.pkg.dev/PROJECT/heatfleet/heatfleet@sha256:..."
  type        = string
}

variable "serve" {
  description = "Whether servers run and the rollup is scheduled. Both need tables, and servers a first key: false until there are."
  type        = bool
  default     = true
}

variable "database_password" {
  description = "Password of the PostgreSQL user, letters and digits. It goes to Cloud SQL and Secret Manager, not into the state."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "database_password_version" {
  description = "Raise it whenever the password changes: Terraform does not keep the old one to compare."
  type        = number
  default     = 1
}

variable "dataset" {
  description = "Name of the BigQuery dataset."
  type        = string
  default     = "heatfleet"
}

variable "push_readings" {
  description = "Whether Pub/Sub pushes readings to the servers; otherwise `heatfleet consume` pulls them, if anything does."
  type        = bool
  default     = true
}

variable "servers_min" {
  description = "Servers that always run."
  type        = number
  default     = 2
}

variable "servers_max" {
  description = "Servers that run at most."
  type        = number
  default     = 20
}

variable "rollup_schedule" {
  description = "How often figures are brought up to date, as cron writes it. `heatfleet cloud cost --rollup-every` tells what it costs."
  type        = string
  default     = "*/15 * * * *"
}

variable "database_tier" {
  description = "Machine of PostgreSQL. It has orders, keys and the audit trail; readings never go there."
  type        = string
  default     = "db-custom-2-7680"
}
